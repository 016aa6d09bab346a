"""SQS: leases that are renewed, settled in batches, and given back on stop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from prometheus_client import Counter

from driftsonde.core import tracing
from driftsonde.core.aws.session import AWS_ERRORS, as_retryable
from driftsonde.core.errors import ConfigError, DriftsondeError, LeaseLost, RetryableError
from driftsonde.core.log import get_logger

log = get_logger(__name__)

_BATCH = 10
_GATHER_SECONDS = 0.02
_MAX_LETTER = 1_000_000  # SQS takes 1 MiB
_MAX_DETAIL = 1_000
_LONGEST_ESCAPE = 13  # characters of JSON for one of text, and room for the rest of the letter
_MAX_LEASE_SECONDS = 11.5 * 3600  # SQS ends any lease after twelve hours
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Counts(NamedTuple):
    """About how many messages a queue has: to be taken, taken and not settled, and not to be taken yet."""

    waiting: int
    taken: int
    delayed: int


@dataclass(frozen=True, slots=True)
class QueueCounters:
    """What is counted of leases; dead letters have the label `reason`."""

    renewed: Counter
    lost: Counter
    dead_letters: Counter


class SqsQueue:
    """One queue.

    Args:
        client: an aiobotocore SQS client.
        url: the queue.
        dead_letters: the queue that poison is moved to, with its reason.
        lease: seconds that a message is ours before it must be renewed.
        wait: seconds of a long poll.
        counters: count what becomes of leases.
    """

    def __init__(
        self, client: Any, url: str, *, dead_letters: str | None = None, lease: int = 60, wait: int = 10, counters: QueueCounters | None = None
    ) -> None:  # fmt: skip
        self._client, self.url, self.counters = client, url, counters
        self._dead_letters, self.lease, self._wait = dead_letters, lease, wait
        self._pending: list[tuple[str, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def receive(self, slots: int) -> Sequence[SqsLease]:
        """Wait for at most `slots` messages, at most one long poll.

        The poll must not be cancelled: what it had taken would stay hidden until its lease ends.

        Raises:
            RetryableError: when the queue cannot be reached.
        """
        try:
            answer = await self._client.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=min(slots, _BATCH), WaitTimeSeconds=self._wait,
                VisibilityTimeout=self.lease, AttributeNames=["ApproximateReceiveCount", "SentTimestamp", "AWSTraceHeader"],
                MessageAttributeNames=["traceparent"],
            )  # fmt: skip
        except AWS_ERRORS as exc:
            raise as_retryable(exc) from exc
        return [SqsLease(self, message) for message in answer.get("Messages", [])]

    async def send(self, body: str) -> None:
        """Put a message in."""
        await self._call(self._client.send_message(QueueUrl=self.url, MessageBody=body, **_fifo(self.url, body)))

    async def max_receives(self) -> int | None:
        """Return how often SQS delivers a message before it moves it to a dead-letter queue of its own; None if it never does.

        Raises:
            RetryableError: when the queue cannot be reached.
        """
        answer = await self._call(self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["RedrivePolicy"]))
        policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
        return int(policy["maxReceiveCount"]) if "maxReceiveCount" in policy else None

    async def counts(self) -> Counts:
        """Return about how many messages it has.

        Raises:
            RetryableError: when the queue cannot be reached.
        """
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        answer = await self._call(self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names))
        found = answer.get("Attributes", {})
        return Counts(*(int(found.get(name, 0)) for name in names))

    def letters(self) -> SqsQueue:
        """Return the queue that poison is moved to.

        Raises:
            ConfigError: if there is none.
        """
        if self._dead_letters is None:
            raise ConfigError(f"{self.url} has no dead-letter queue")
        return SqsQueue(self._client, self._dead_letters)

    async def delete(self, receipt: str) -> None:
        """Delete one message; calls made at about the same time share a request."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((receipt, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        """Delete what waits, until nothing does: also what came while a request was under way."""
        while self._pending:
            if len(self._pending) < _BATCH:
                await asyncio.sleep(_GATHER_SECONDS)
            batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
            failed = await self._delete_batch([receipt for receipt, _ in batch])
            for index, (_, done) in enumerate(batch):
                if done.done():  # whoever waited was cancelled
                    continue
                if index in failed:
                    done.set_exception(failed[index])
                else:
                    done.set_result(None)

    async def _delete_batch(self, receipts: Sequence[str]) -> dict[int, DriftsondeError]:
        """Return what went wrong, by place in the batch."""
        entries = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)]
        try:
            answer = await self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
        except AWS_ERRORS as exc:
            return dict.fromkeys(range(len(receipts)), as_retryable(exc))
        # A batch call answers 200 even when entries failed.
        return {int(entry["Id"]): RetryableError(f"message was not deleted: {entry.get('Code', '')}") for entry in answer.get("Failed", [])}

    async def change_visibility(self, receipt: str, seconds: int) -> None:
        """Set how long from now a message stays hidden."""
        await self._call(self._client.change_message_visibility(QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=seconds))

    async def dead_letter(self, body: str, reason: str, detail: str) -> None:
        """Keep a body with its reason in the dead-letter queue; a body that is too long for a message loses its end.

        Raises:
            ConfigError: if there is no dead-letter queue.
        """
        dead_letters = self.letters().url
        letter = {"reason": reason, "detail": detail[:_MAX_DETAIL], "body": body}
        text = json.dumps(letter)  # in ASCII: SQS refuses control characters, and counts bytes
        if len(text) > _MAX_LETTER:
            text = json.dumps(letter | {"body": body[: _MAX_LETTER // _LONGEST_ESCAPE], "truncated": True})
        await self._call(self._client.send_message(QueueUrl=dead_letters, MessageBody=text, **_fifo(dead_letters, text)))
        if self.counters is not None:
            self.counters.dead_letters.labels(reason).inc()

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except AWS_ERRORS as exc:
            raise as_retryable(exc) from exc


def _fifo(url: str, body: str) -> dict[str, str]:
    """Return what a FIFO queue wants beside a body; the same body within five minutes is one message to it."""
    if not url.endswith(".fifo"):
        return {}
    return {"MessageGroupId": "driftsonde", "MessageDeduplicationId": hashlib.sha256(body.encode()).hexdigest()}


class SqsLease:
    """One received message."""

    def __init__(self, queue: SqsQueue, message: dict[str, Any]) -> None:
        self._queue = queue
        self._receipt: str = message["ReceiptHandle"]
        self.body: str = message["Body"]
        attributes = message.get("Attributes", {})
        self.deliveries = int(attributes.get("ApproximateReceiveCount", 1))
        sent = attributes.get("SentTimestamp")  # milliseconds
        self.sent_at = _EPOCH + timedelta(milliseconds=int(sent)) if sent is not None else None
        said = message.get("MessageAttributes", {}).get("traceparent", {}).get("StringValue")
        self.traceparent = tracing.valid(said) or tracing.from_xray(attributes.get("AWSTraceHeader"))

    async def extend_forever(self) -> None:
        """Renew at a third of the lease until cancelled; a renewal that fails is tried once more, at the next third.

        Raises:
            LeaseLost: before the lease ends, when it could not be renewed, or was held as long as SQS allows.
        """
        try:
            await self._renew_forever()
        except LeaseLost:
            if self._queue.counters is not None:
                self._queue.counters.lost.inc()
            raise

    async def _renew_forever(self) -> None:
        held, failures = 0.0, 0
        while held < _MAX_LEASE_SECONDS:
            await asyncio.sleep(self._queue.lease / 3)
            held += self._queue.lease / 3
            try:
                await self._queue.change_visibility(self._receipt, self._queue.lease)
                failures = 0
                if self._queue.counters is not None:
                    self._queue.counters.renewed.inc()
            except RetryableError as exc:
                failures += 1
                log.warning("lease was not renewed", error=str(exc))
                if failures == 2:
                    raise LeaseLost(f"the lease could not be renewed: {exc}") from exc
        raise LeaseLost(f"the message was held for {_MAX_LEASE_SECONDS / 3600:g} hours, as long as SQS allows")

    async def delete(self) -> None:
        """Settle: done."""
        await self._queue.delete(self._receipt)

    async def release(self, delay: float) -> None:
        """Settle: again after `delay` seconds."""
        await self._queue.change_visibility(self._receipt, min(math.ceil(delay), 900))

    async def dead_letter(self, reason: str, detail: str) -> None:
        """Settle: keep it with its reason, then delete it. In this order a crash in between doubles a dead letter, never loses it."""
        await self._queue.dead_letter(self.body, reason, detail)
        await self.delete()
