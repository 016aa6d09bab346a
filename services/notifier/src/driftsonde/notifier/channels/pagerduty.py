"""PagerDuty, Events API v2: an episode is an incident."""

from __future__ import annotations

import json
from typing import Any, Final

from driftsonde.core.events import Alarm, DriftResolved, Event
from driftsonde.core.ports import FIRST, Delivery, Occasion
from driftsonde.notifier.channels.http import HttpPoster
from driftsonde.notifier.grouping import group_key, severity
from driftsonde.notifier.wording import message

ENQUEUE: Final = "/v2/enqueue"
_SUMMARY: Final = 1024
_DETAILS: Final = 8000


class PagerDuty:
    """A channel that opens an incident for each episode, and closes it.

    Args:
        poster: posts to the events API.
        routing_key: the integration's; a secret.
    """

    def __init__(self, poster: HttpPoster, routing_key: str) -> None:
        self._poster, self._routing_key = poster, routing_key

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Open, repeat or close an incident; 202 accepts it."""
        body = json.dumps({"routing_key": self._routing_key, **request(event, occasion)}).encode()
        answer = await self._poster.post(body, "application/json")
        if isinstance(answer, Delivery):
            return answer
        return Delivery("delivered") if 200 <= answer.status < 300 else answer.failed()


def request(event: Event, occasion: Occasion = FIRST) -> dict[str, Any]:
    """Return what PagerDuty is asked, without the key."""
    fact = event.data
    if isinstance(fact, DriftResolved):
        return {"event_action": "resolve", "dedup_key": group_key(fact)}
    said = message(event, occasion)
    # What is no episode's beginning has no end either: under the episode's key it would open again an incident that was closed.
    key = group_key(fact) if isinstance(fact, Alarm) else f"{group_key(fact)}:{event.id}"
    return {
        "event_action": "trigger",
        "dedup_key": key,
        "client": "driftsonde",
        "payload": {
            "summary": said.title[:_SUMMARY],
            "source": fact.monitor,
            "severity": severity(fact),
            "timestamp": event.time.isoformat(),
            "component": fact.monitor,
            "group": group_key(fact),
            "class": fact.TYPE,
            "custom_details": {"message": "\n\n".join(said.paragraphs)[:_DETAILS], "event": event.id},
        },
    }
