"""Slack: incoming webhooks, and bots that answer in threads."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from driftsonde.core.events import DriftResolved, Event
from driftsonde.core.ports import FIRST, Delivery, Occasion
from driftsonde.notifier.channels.http import Answer, HttpPoster
from driftsonde.notifier.grouping import severity
from driftsonde.notifier.render import slack_payload

MAX_ANSWER: Final = 300_000
"""Bytes of an answer of chat.postMessage: it repeats the message, with what is not ASCII escaped."""
_JSON: Final = "application/json; charset=utf-8"
# Slack's own error words (`invalid_payload`, `no_service`); anything else could be a page that repeats the address.
_ERROR_WORD: Final = re.compile(r"[a-z_]{1,40}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,20}\.[0-9]{1,10}")
_LATER: Final = frozenset({
    "ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error", "service_unavailable", "request_timeout",
    "team_added_to_org", "accesslimited",
})  # fmt: skip
_NO_THREAD: Final = frozenset({"thread_not_found", "invalid_thread_ts", "cannot_reply_to_message", "message_not_found"})


class Slack:
    """A channel that posts Block Kit messages; Slack accepted one only when it answers `ok`."""

    def __init__(self, poster: HttpPoster) -> None:
        self._poster = poster

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Post one event."""
        body = json.dumps(slack_payload(event, occasion), ensure_ascii=False).encode()
        answer = await self._poster.post(body, _JSON)
        if isinstance(answer, Delivery):
            return answer
        if answer.status == 200 and answer.text.strip() == "ok":
            return Delivery("delivered")
        failed = answer.failed()
        word = answer.text.strip()
        if failed.outcome == "refused" and _ERROR_WORD.fullmatch(word):
            return Delivery("refused", f"{failed.detail}: {word}")
        return failed


class SlackBot:
    """A channel that posts as a bot: what concerns one episode stands in one thread.

    Args:
        poster: posts to `chat.postMessage`.
        token: the bot's; a secret.
        channel: id or name of where to.
    """

    def __init__(self, poster: HttpPoster, token: str, channel: str) -> None:
        self._poster, self._token, self._channel = poster, token, channel

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Post one event, into the thread of its episode if there is one."""
        # A monitor's messages that belong to no episode have nothing in common that a thread could be about.
        thread = None if event.data.episode is None else occasion.thread
        answer = await self._post(event, occasion, thread)
        if thread and isinstance(answer, dict) and answer.get("error") in _NO_THREAD:  # somebody deleted what it began with
            thread, answer = None, await self._post(event, occasion, None)
        if isinstance(answer, Delivery):
            return answer
        if answer.get("ok") is True:
            own = str(answer.get("ts", ""))
            begun = thread or (own if _TIMESTAMP.fullmatch(own) else None)
            return Delivery("delivered", thread=None if event.data.episode is None else begun)
        word = str(answer.get("error", ""))
        detail = word if _ERROR_WORD.fullmatch(word) else "no reason given"
        return Delivery("retry" if word in _LATER else "refused", detail)

    async def _post(self, event: Event, occasion: Occasion, thread: str | None) -> dict[str, Any] | Delivery:
        request = {**slack_payload(event, occasion), "channel": self._channel, "unfurl_links": False, "unfurl_media": False}
        if thread:
            request |= {"thread_ts": thread, "reply_broadcast": _concerns_all(event, occasion)}
        body = json.dumps(request, ensure_ascii=False).encode()
        answer = await self._poster.post(body, _JSON, {"Authorization": f"Bearer {self._token}"})
        return answer if isinstance(answer, Delivery) else _read(answer)


def _concerns_all(event: Event, occasion: Occasion) -> bool:
    """Tell whether a reply is shown in the channel too: in a thread alone it would be seen only by those who follow it."""
    return isinstance(event.data, DriftResolved) or occasion.reminder > 0 or severity(event.data) == "critical"


def _read(answer: Answer) -> dict[str, Any] | Delivery:
    if answer.status != 200:
        return answer.failed()
    try:
        read = json.loads(answer.text)
    except (ValueError, RecursionError):
        read = None
    return read if isinstance(read, dict) else Delivery("retry", "the answer is not Slack's")
