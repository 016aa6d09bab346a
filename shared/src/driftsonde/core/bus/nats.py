"""The bus on NATS JetStream."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faststream import AckPolicy
from faststream.nats import ConsumerConfig, DeliverPolicy, JStream, NatsBroker, NatsMessage, PullSub
from nats.errors import Error as NatsError
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NoStreamResponseError, NotFoundError

from driftsonde.core import tracing
from driftsonde.core.bus.settle import ACK_WAIT_SECONDS, settling
from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.events import PREFIX, Event, parse_event
from driftsonde.core.lifecycle import Health
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Handler

log = get_logger(__name__)

STREAM = "DRIFTSONDE"
DEAD_LETTERS = "DRIFTSONDE_DEAD_LETTERS"
_LOOK_SECONDS = 10.0
_THIRTY_DAYS = 30 * 24 * 3600.0


class NatsBus:
    """Publishes to, and consumes from, one JetStream stream with file storage.

    A server that comes back without what it stored has neither stream nor consumers: they are declared again, and who publishes
    what was lost is the outbox.
    """

    def __init__(self, url: str, *, health: Health | None = None) -> None:
        self._url, self._health = url, health
        self._subscriptions: list[tuple[str, list[str], Handler]] = []
        self._broker: NatsBroker | None = None
        self._lost = asyncio.Event()

    def subscribe(self, service: str, types: Sequence[str], handle: Handler) -> None:
        """Deliver events of `types` to `handle`, one at a time, in stream order, durable under the service's name."""
        self._subscriptions.append((service, [f"{PREFIX}.{name}.*" for name in types], handle))

    async def publish(self, event: Event, *, attempt: int = 0) -> None:
        """Publish and wait for the broker's receipt."""
        headers = {"Nats-Msg-Id": event.id if attempt == 0 else f"{event.id}.{attempt}"}
        if self._broker is None:
            raise RetryableError("bus is not connected")
        try:
            # With `stream` the call waits for the PubAck; without it, it is fire and forget.
            await self._broker.publish(event.to_json(), event.bus_subject, headers=headers, stream=STREAM, timeout=5.0)
        except (NatsError, TimeoutError, OSError) as exc:
            if isinstance(exc, NoStreamResponseError):
                self._lost.set()
            raise RetryableError(f"bus did not take the event: {exc!r}", retry_after=1.0) from exc

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect, declare the streams, consume while the block runs, then finish what is in hand."""
        self._report("not connected yet")
        while True:
            try:
                await self._start()
                break
            except (NatsError, TimeoutError, OSError) as exc:  # e.g. wrong credentials: whoever mends them need not restart us
                log.warning("bus", error=repr(exc))
                self._report(f"refuses: {exc}")
                await asyncio.sleep(_LOOK_SECONDS)
        mending = asyncio.create_task(self._mend())
        try:
            yield
        finally:
            mending.cancel()
            await asyncio.gather(mending, return_exceptions=True)
            if self._broker is not None:
                await self._broker.stop()

    async def _start(self) -> None:
        broker = NatsBroker(
            self._url, logger=None, max_reconnect_attempts=-1, reconnect_time_wait=1, connect_timeout=5,
            error_cb=self._on_error, disconnected_cb=self._on_disconnect, reconnected_cb=self._on_reconnect,
            middlewares=[self._middleware()],
        )  # fmt: skip
        for subscription in self._subscriptions:
            _consume(broker, *subscription)
        try:
            await broker.connect()
            await _declare(broker)
            await broker.start()
        except BaseException:
            await broker.stop()
            raise
        self._broker = broker
        self._lost.clear()
        self._report(None)  # errors on the way here were reported, and no callback says that they are over

    async def _mend(self) -> None:
        """Start anew whenever the stream, or a consumer that should be there, is gone."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), _LOOK_SECONDS)
            try:
                if not self._lost.is_set() and not await self._gone():
                    continue
                log.warning("the bus has lost its streams; they are declared again")
                self._report("its streams were lost")
                if self._broker is not None:
                    before, self._broker = self._broker, None
                    await asyncio.wait_for(before.stop(), _LOOK_SECONDS)
                await self._start()
            except (NatsError, TimeoutError, OSError) as exc:
                log.warning("bus", error=repr(exc))
                self._lost.set()
                await asyncio.sleep(1.0)

    async def _gone(self) -> bool:
        """Say whether the server answers and knows our stream or consumers no more."""
        if self._broker is None:
            return True
        stream = _jetstream(self._broker)
        try:
            await stream.stream_info(STREAM)
            for service, _, _ in self._subscriptions:
                await stream.consumer_info(STREAM, service)
        except NotFoundError:
            return True
        except (NatsError, TimeoutError, OSError):
            return False  # away, which the client itself mends
        return False

    def _middleware(self) -> Any:
        middleware = settling(self._dead_letter)
        return lambda msg, /, *, context: middleware(msg, context=context)

    async def _dead_letter(self, body: bytes, reason: str, detail: str) -> None:
        try:
            event = parse_event(body)
            subject, headers = f"dlq.{event.bus_subject}", {"Nats-Msg-Id": f"dlq.{event.id}"}
        except PoisonError:
            subject, headers = f"dlq.{PREFIX}.unreadable", {}
        letter = {"reason": reason, "detail": detail, "body": body.decode("utf-8", "replace")}
        if self._broker is None:
            raise RetryableError("bus is not connected")
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


def _consume(broker: NatsBroker, service: str, subjects: list[str], handle: Handler) -> None:
    # MANUAL on purpose: the default policy terminates a message whose handler raised.
    @broker.subscriber(
        stream=JStream(STREAM, declare=False),
        durable=service,
        pull_sub=PullSub(batch_size=1, timeout=5.0),
        config=ConsumerConfig(filter_subjects=subjects, ack_wait=ACK_WAIT_SECONDS, max_ack_pending=1),
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        decoder=_undecoded,
    )
    async def on_event(msg: NatsMessage) -> None:
        event = parse_event(msg.body)
        with tracing.span("handle", event.traceparent, type=event.type):
            await handle(event)


async def _undecoded(message: NatsMessage) -> bytes:
    """Leave the body alone: nested deeply enough it would break FastStream's own reading of JSON, before ours can say that it is poison."""
    return message.body


async def _declare(broker: NatsBroker) -> None:
    stream = _jetstream(broker)
    for name, subject in ((STREAM, f"{PREFIX}.>"), (DEAD_LETTERS, "dlq.>")):
        config = StreamConfig(name=name, subjects=[subject], storage=StorageType.FILE, max_age=_THIRTY_DAYS)
        try:
            await stream.stream_info(name)
        except NotFoundError:
            await stream.add_stream(config)


def _jetstream(broker: NatsBroker) -> Any:
    return broker.config.broker_config.connection_state.stream
