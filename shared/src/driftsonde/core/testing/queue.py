"""A queue in memory that keeps SQS's rules."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime

from driftsonde.core.errors import LeaseLost, RetryableError


class MemoryQueue:
    """A queue in memory: at least once, one ending per delivery; what got none is held until `expire`.

    Args:
        sent_at: when the bodies were put in.
        traceparent: the trace that they are said to belong to.
    """

    def __init__(self, *bodies: str, sent_at: datetime | None = None, traceparent: str | None = None) -> None:
        self.sent_at, self.traceparent = sent_at, traceparent
        self.deleted: list[str] = []
        self.released: list[tuple[str, float]] = []
        self.dead_letters: list[tuple[str, str]] = []
        self.asked: list[int] = []
        self.faults: list[RetryableError] = []
        self.held: list[MemoryLease] = []
        self._waiting: list[tuple[str, int]] = [(body, 0) for body in bodies]
        self._arrived = asyncio.Event()

    async def send(self, body: str) -> None:
        """Put a message in."""
        self._waiting.append((body, 0))
        self._arrived.set()

    async def receive(self, slots: int) -> Sequence[MemoryLease]:
        """Return at most `slots` messages, waiting a moment for one; raise the next of `faults` first."""
        self.asked.append(slots)
        if self.faults:
            raise self.faults.pop(0)
        if not self._waiting:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), 0.02)
        taken, self._waiting = self._waiting[:slots], self._waiting[slots:]
        leases = [MemoryLease(self, body, deliveries + 1) for body, deliveries in taken]
        self.held += leases
        return leases

    async def dead_letter(self, body: str, reason: str, _detail: str) -> None:
        """Keep a body with its reason."""
        self.dead_letters.append((body, reason))

    def expire(self) -> None:
        """Let the leases that had no ending lapse: their messages come again, before the others."""
        self._waiting[:0] = [(lease.body, lease.deliveries) for lease in self.held]
        self.held = []

    def lose(self) -> None:
        """Let the leases that are held end, and no renewal succeed."""
        for lease in self.held:
            lease.lost.set()
        self.expire()

    def _end(self, lease: MemoryLease) -> None:
        self.held.remove(lease)  # a second ending is an error of the test's subject


class MemoryLease:
    """One message of a `MemoryQueue`."""

    def __init__(self, queue: MemoryQueue, body: str, deliveries: int) -> None:
        self._queue, self.body, self.deliveries, self.sent_at = queue, body, deliveries, queue.sent_at
        self.traceparent = queue.traceparent
        self.lost = asyncio.Event()

    async def extend_forever(self) -> None:
        """Hold it, until it is lost."""
        await self.lost.wait()
        raise LeaseLost("the lease could not be renewed")

    async def delete(self) -> None:
        """Settle: done."""
        self._queue._end(self)
        self._queue.deleted.append(self.body)

    async def release(self, delay: float) -> None:
        """Settle: again, here at once."""
        if self.lost.is_set():
            raise RetryableError("the lease has ended")
        self._queue._end(self)
        self._queue.released.append((self.body, delay))
        self._queue._waiting.append((self.body, self.deliveries))
        self._queue._arrived.set()

    async def dead_letter(self, reason: str, detail: str) -> None:
        """Settle: keep it with its reason."""
        await self._queue.dead_letter(self.body, reason, detail)
        self._queue._end(self)
