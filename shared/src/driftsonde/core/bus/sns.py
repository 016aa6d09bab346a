"""The bus on SNS and SQS, where nothing may be run: one FIFO topic, and one FIFO queue for each service.

The infrastructure exists before the services do (the ECS template makes it), so that a service needs leave to publish and to
receive, and to create nothing. Subscriptions carry no filter: a type that a newer service asks for would be lost until somebody
remembered the filter, and events are few.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from driftsonde.core import tracing
from driftsonde.core.aws.queue import SqsQueue
from driftsonde.core.aws.session import AWS_ERRORS, as_retryable, aws_client
from driftsonde.core.bus.settle import ACK_WAIT_SECONDS, MAX_BUGS, MAX_DELIVERIES, pause_before_next
from driftsonde.core.errors import ConfigError, PoisonError, RetryableError
from driftsonde.core.events import PREFIX, Event, parse_event
from driftsonde.core.leases import settle
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Handler, Lease

log = get_logger(__name__)

_POLL_SECONDS = 10
_PAUSE_SECONDS = 5.0
_ARN_PARTS = 6


class SnsAddress(NamedTuple):
    """Where the bus is. `{service}` in a queue's URL stands for the service's name, so that all services share one setting."""

    topic: str
    queue: str
    dead_letters: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `sns://<topic ARN>?queue=<SQS URL>&dead_letters=<SQS URL>`.

        Raises:
            ConfigError: naming what is missing or wrong.
        """
        parts = urlsplit(url)
        given = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        unknown = sorted(given.keys() - {"queue", "dead_letters"})
        if unknown:
            raise ConfigError(f"bus_url: knows queue and dead_letters, not {', '.join(unknown)}")
        if not parts.netloc.startswith("arn:") or len(parts.netloc.split(":")) != _ARN_PARTS:
            raise ConfigError(
                f"bus_url: {parts.netloc!r} is no ARN of a topic; expected sns://arn:aws:sns:<region>:<account>:<name>.fifo?queue=…"
            )
        queues = [given.get("queue", ""), given.get("dead_letters", "")]
        for key, queue in zip(("queue", "dead_letters"), queues, strict=True):
            if not queue.startswith(("https://", "http://")):
                raise ConfigError(
                    f"bus_url: {key}={queue!r} is no URL of a queue; expected https://sqs.<region>.amazonaws.com/<account>/<name>.fifo"
                )
        for name in (parts.netloc, *queues):
            if not name.endswith(".fifo"):
                raise ConfigError(f"bus_url: {name!r} is not FIFO, so events of a monitor would come in any order")
        return cls(parts.netloc, *queues)

    @property
    def region(self) -> str:
        """The topic's region; the queues are in it too."""
        return self.topic.split(":")[3]


class SnsBus:
    """Publishes to one topic; consumes the service's own queue, one event at a time. Order is kept within a monitor."""

    def __init__(self, url: str, *, health: Health | None = None, wait: int = _POLL_SECONDS) -> None:
        self._address, self._health, self._wait = SnsAddress.parse(url), health, wait
        self._subscriptions: list[tuple[str, frozenset[str], Handler]] = []
        self._sns: Any = None

    def subscribe(self, service: str, types: Sequence[str], handle: Handler) -> None:
        """Deliver events of `types` to `handle`, from the service's own queue; other types are settled unseen."""
        self._subscriptions.append((service, frozenset(f"{PREFIX}.{name}" for name in types), handle))

    async def publish(self, event: Event, *, attempt: int = 0) -> None:
        """Publish and wait for the receipt. SNS knows a repeat for five minutes; after them consumers do, by the event's id."""
        if self._sns is None:
            raise RetryableError("bus is not connected")
        try:
            await self._sns.publish(
                TopicArn=self._address.topic,
                Message=event.to_json().decode(),
                MessageGroupId=event.subject,
                MessageDeduplicationId=event.id if attempt == 0 else f"{event.id}.{attempt}",
                MessageAttributes={"type": {"DataType": "String", "StringValue": event.type}},
            )
        except AWS_ERRORS as exc:
            raise as_retryable(exc) from exc

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect, consume while the block runs, then let the polls end: what a cancelled one had taken would stay hidden."""
        stop = asyncio.Event()
        async with AsyncExitStack() as stack:
            sqs = await stack.enter_async_context(aws_client("sqs", read_timeout=self._wait + 20, region=self._address.region))
            self._sns = await stack.enter_async_context(aws_client("sns", region=self._address.region))
            # No task group: whoever enters here may be another task than the one that leaves.
            consumers = [
                asyncio.create_task(self._consume(self._queue(sqs, service), types, handle, stop))
                for service, types, handle in self._subscriptions
            ]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*consumers)
                self._sns = None

    def _queue(self, sqs: Any, service: str) -> SqsQueue:
        url, letters = (address.replace("{service}", service) for address in self._address[1:])
        return SqsQueue(sqs, url, dead_letters=letters, lease=int(ACK_WAIT_SECONDS), wait=self._wait)

    async def _consume(self, queue: SqsQueue, types: frozenset[str], handle: Handler, stop: asyncio.Event) -> None:
        async def take(lease: Lease) -> None:
            await _handled(lease, types, handle)

        self._report("not connected yet")
        await self._reach(queue, stop)
        while not stop.is_set():
            try:
                leases = await queue.receive(1)
                self._report(None)
                for lease in leases:
                    if stop.is_set():
                        await lease.release(0)
                    else:
                        await settle(lease, take)
            except RetryableError as exc:  # of an event in hand the lease lapses, and it comes again
                log.warning("bus", error=str(exc))
                self._report(str(exc))
                await wait_or_stop(stop, _PAUSE_SECONDS)

    async def _reach(self, queue: SqsQueue, stop: asyncio.Event) -> None:
        """Wait for the queue to answer, without the long poll that an empty one would hold us up with."""
        while not stop.is_set():
            try:
                await queue.counts()
            except RetryableError as exc:
                log.warning("bus", error=str(exc))
                self._report(str(exc))
                await wait_or_stop(stop, _PAUSE_SECONDS)
            else:
                self._report(None)
                return

    def _report(self, problem: str | None) -> None:
        if self._health:
            self._health.beat("bus")
            self._health.report("bus", problem)


async def _handled(lease: Lease, types: frozenset[str], handle: Handler) -> None:
    """Hand an event over; a failure says when it is to come again, or that it is given up."""
    event = parse_event(_unwrapped(lease.body).encode())
    if event.type not in types:
        return
    try:
        with tracing.span("handle", event.traceparent, type=event.type):
            await handle(event)
    except PoisonError:
        raise
    except RetryableError as exc:
        raise _again(lease, exc.retry_after, str(exc), MAX_DELIVERIES) from exc
    except Exception as exc:  # the only broad handler: an unknown error is redelivered with delay, never lost
        log.exception("unexpected error in a handler")
        raise _again(lease, 1.0, repr(exc), MAX_BUGS) from exc


def _again(lease: Lease, delay: float, detail: str, most: int) -> PoisonError | RetryableError:
    pause = pause_before_next(lease.deliveries, delay, most)
    return PoisonError(detail, reason="max_deliveries") if pause is None else RetryableError(detail, retry_after=pause)


def _unwrapped(body: str) -> str:
    """Return the event in SNS's envelope, for a subscription that was made without raw delivery; any other body as it is."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return body
    wrapped = isinstance(message, dict) and message.get("Type") == "Notification" and isinstance(message.get("Message"), str)
    return str(message["Message"]) if wrapped else body
