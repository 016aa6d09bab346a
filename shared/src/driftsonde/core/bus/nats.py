"""The bus on NATS JetStream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faststream import AckPolicy
from faststream.nats import ConsumerConfig, DeliverPolicy, JStream, NatsBroker, NatsMessage, PullSub
from nats.errors import Error as NatsError
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError

from driftsonde.core.bus.settle import ACK_WAIT_SECONDS, settling
from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.events import PREFIX, Event, parse_event
from driftsonde.core.lifecycle import Health
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Handler

log = get_logger(__name__)

STREAM = "DRIFTSONDE"
DEAD_LETTERS = "DRIFTSONDE_DEAD_LETTERS"
_THIRTY_DAYS = 30 * 24 * 3600.0


class NatsBus:
    """Publishes to, and consumes from, one JetStream stream with file storage."""

    def __init__(self, url: str, *, health: Health | None = None) -> None:
        self._health = health
        self._broker = NatsBroker(
            url, logger=None, max_reconnect_attempts=-1, reconnect_time_wait=1, connect_timeout=5,
            error_cb=self._on_error, disconnected_cb=self._on_disconnect, reconnected_cb=self._on_reconnect,
            middlewares=[self._middleware()],
        )  # fmt: skip

    def _middleware(self) -> Any:
        middleware = settling(self._dead_letter)
        return lambda msg, /, *, context: middleware(msg, context=context)

    def subscribe(self, service: str, types: Sequence[str], handle: Handler) -> None:
        """Deliver events of `types` to `handle`, one at a time, in stream order, durable under the service's name."""
        subjects = [f"{PREFIX}.{name}.*" for name in types]

        # MANUAL on purpose: the default policy terminates a message whose handler raised.
        @self._broker.subscriber(
            stream=JStream(STREAM, declare=False),
            durable=service,
            pull_sub=PullSub(batch_size=1, timeout=5.0),
            config=ConsumerConfig(filter_subjects=subjects, ack_wait=ACK_WAIT_SECONDS, max_ack_pending=1),
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
        )
        async def on_event(msg: NatsMessage) -> None:
            await handle(parse_event(msg.body))

    async def publish(self, event: Event, *, attempt: int = 0) -> None:
        """Publish and wait for the broker's receipt."""
        headers = {"Nats-Msg-Id": event.id if attempt == 0 else f"{event.id}.{attempt}"}
        try:
            # With `stream` the call waits for the PubAck; without it, it is fire and forget.
            await self._broker.publish(event.to_json(), event.bus_subject, headers=headers, stream=STREAM, timeout=5.0)
        except (NatsError, TimeoutError, OSError) as exc:
            raise RetryableError(f"bus did not take the event: {exc!r}", retry_after=1.0) from exc

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect, declare the streams, consume while the block runs, then finish what is in hand."""
        self._report("not connected yet")
        await self._broker.connect()
        try:
            await self._declare()
            await self._broker.start()
            self._report(None)  # errors on the way here were reported, and no callback says that they are over
            yield
        finally:
            await self._broker.stop()

    async def _declare(self) -> None:
        connection: Any = self._broker.config.broker_config.connection_state.stream
        for name, subject in ((STREAM, f"{PREFIX}.>"), (DEAD_LETTERS, "dlq.>")):
            config = StreamConfig(name=name, subjects=[subject], storage=StorageType.FILE, max_age=_THIRTY_DAYS)
            try:
                await connection.stream_info(name)
            except NotFoundError:
                await connection.add_stream(config)

    async def _dead_letter(self, body: bytes, reason: str, detail: str) -> None:
        try:
            event = parse_event(body)
            subject, headers = f"dlq.{event.bus_subject}", {"Nats-Msg-Id": f"dlq.{event.id}"}
        except PoisonError:
            subject, headers = f"dlq.{PREFIX}.unreadable", {}
        letter = {"reason": reason, "detail": detail, "body": body.decode("utf-8", "replace")}
        await self._broker.publish(json.dumps(letter).encode(), subject, headers=headers, stream=DEAD_LETTERS, timeout=5.0)

    async def _on_error(self, error: Exception) -> None:
        log.warning("bus", error=repr(error))  # one error is no outage: a lost connection is told by the next callback

    async def _on_disconnect(self) -> None:
        self._report("disconnected")

    async def _on_reconnect(self) -> None:
        self._report(None)

    def _report(self, problem: str | None) -> None:
        if self._health:
            self._health.report("bus", problem)
