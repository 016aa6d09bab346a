"""Any HTTP endpoint that takes CloudEvents."""

from __future__ import annotations

from driftsonde.core.events import Event
from driftsonde.core.ports import Delivery
from driftsonde.notifier.channels.http import HttpPoster


class Webhook:
    """A channel that posts the event itself, as CloudEvents 1.0 JSON."""

    def __init__(self, poster: HttpPoster) -> None:
        self._poster = poster

    async def send(self, event: Event) -> Delivery:
        """Post one event; any 2xx accepts it."""
        answer = await self._poster.post(event.to_json(), "application/cloudevents+json")
        if isinstance(answer, Delivery):
            return answer
        return Delivery("delivered") if 200 <= answer.status < 300 else answer.failed()
