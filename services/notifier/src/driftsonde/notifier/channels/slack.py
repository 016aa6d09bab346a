"""Slack incoming webhooks."""

from __future__ import annotations

import json
import re
from typing import Final

from driftsonde.core.events import Event
from driftsonde.core.ports import Delivery
from driftsonde.notifier.channels.http import HttpPoster
from driftsonde.notifier.render import slack_payload

# Slack's own error words (`invalid_payload`, `no_service`); anything else could be a page that repeats the address.
_ERROR_WORD: Final = re.compile(r"[a-z_]{1,40}")


class Slack:
    """A channel that posts Block Kit messages; Slack accepted one only when it answers `ok`."""

    def __init__(self, poster: HttpPoster) -> None:
        self._poster = poster

    async def send(self, event: Event) -> Delivery:
        """Post one event."""
        body = json.dumps(slack_payload(event), ensure_ascii=False).encode()
        answer = await self._poster.post(body, "application/json; charset=utf-8")
        if isinstance(answer, Delivery):
            return answer
        if answer.status == 200 and answer.text.strip() == "ok":
            return Delivery("delivered")
        failed = answer.failed()
        word = answer.text.strip()
        if failed.outcome == "refused" and _ERROR_WORD.fullmatch(word):
            return Delivery("refused", f"{failed.detail}: {word}")
        return failed
