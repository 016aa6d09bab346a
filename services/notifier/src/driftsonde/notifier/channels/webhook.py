"""Any HTTP endpoint that takes CloudEvents."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from driftsonde.core import tracing
from driftsonde.core.events import Event
from driftsonde.core.ports import FIRST, Clock, Delivery, Occasion
from driftsonde.notifier.channels.http import HttpPoster

SIGNATURE: Final = "Driftsonde-Signature"
OCCASION: Final = "Driftsonde-Occasion"


class Signer:
    """Signs requests.

    Args:
        secret: known to the receiver too.
        clock: dates signatures.
    """

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret, self._clock = secret, clock

    def sign(self, body: bytes) -> str:
        """Return `t=<unix>,v1=<hex>`: the HMAC-SHA256 of the time, a dot and the body, so that an old request cannot be sent again."""
        moment = int(self._clock.now().timestamp())
        digest = hmac.new(self._secret, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        return f"t={moment},v1={digest}"


class Webhook:
    """A channel that posts the event itself, as CloudEvents 1.0 JSON.

    Args:
        poster: posts to the endpoint.
        signer: signs requests; None: they are not signed.
    """

    def __init__(self, poster: HttpPoster, signer: Signer | None = None) -> None:
        self._poster, self._signer = poster, signer

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Post one event; any 2xx accepts it."""
        body = event.to_json()
        answer = await self._poster.post(body, "application/cloudevents+json", self._headers(body, occasion, event))
        if isinstance(answer, Delivery):
            return answer
        return Delivery("delivered") if 200 <= answer.status < 300 else answer.failed()

    def _headers(self, body: bytes, occasion: Occasion, event: Event) -> dict[str, str]:
        headers = {}
        if trace := tracing.current() or event.traceparent:
            headers["traceparent"] = trace
        # The event is what happened, and stays as it was: that it is told again is said beside it.
        if occasion.sample or occasion.reminder:
            headers[OCCASION] = "test" if occasion.sample else f"reminder {occasion.reminder}"
        if self._signer is not None:
            headers[SIGNATURE] = self._signer.sign(body)
        return headers
