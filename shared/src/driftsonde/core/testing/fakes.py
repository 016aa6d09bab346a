"""In-memory fakes that keep the real rules."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from driftsonde.core.errors import GoneError, PoisonError, RetryableError, SupersededError
from driftsonde.core.events import PREFIX, Event, parse_event
from driftsonde.core.ports import Clock, Handler, ObjectInfo

MAX_DELIVERIES = 20


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the time."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move on."""
        self._now += by


class MemoryBus:
    """A bus in memory: at least once, one delivery at a time per service, dead letters for poison.

    `await bus.drain()` delivers until nothing waits; a retry is delivered at once, up to `MAX_DELIVERIES` times.
    """

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.dead_letters: list[tuple[bytes, str]] = []
        self._seen: set[tuple[str, int]] = set()
        self._subscriptions: dict[str, tuple[tuple[str, ...], Handler]] = {}
        self._waiting: dict[str, list[tuple[bytes, int]]] = defaultdict(list)

    def subscribe(self, service: str, types: Sequence[str], handle: Handler) -> None:
        """Deliver events of `types` to `handle`."""
        self._subscriptions[service] = (tuple(f"{PREFIX}.{name}" for name in types), handle)

    async def publish(self, event: Event, *, attempt: int = 0) -> None:
        """Store the event; a repeat of the same attempt is dropped, as a broker does."""
        if (event.id, attempt) in self._seen:
            return
        self._seen.add((event.id, attempt))
        self.published.append(event)
        await self.publish_raw(event.type, event.to_json())

    async def publish_raw(self, event_type: str, body: bytes) -> None:
        """Deliver a body that need not be an event; for tests of poison."""
        for service, (types, _) in self._subscriptions.items():
            if event_type in types:
                self._waiting[service].append((body, 1))

    async def drain(self) -> None:
        """Deliver until nothing waits."""
        while any(self._waiting.values()):
            for service, waiting in list(self._waiting.items()):
                while waiting:
                    await self._deliver(service, *waiting.pop(0))

    async def _deliver(self, service: str, body: bytes, delivery: int) -> None:
        _, handle = self._subscriptions[service]
        try:
            await handle(parse_event(body))
        except PoisonError as exc:
            self.dead_letters.append((body, exc.reason))
        except RetryableError:
            self._again(service, body, delivery)
        except Exception:  # as the real bus: an unknown error is redelivered
            self._again(service, body, delivery)

    def _again(self, service: str, body: bytes, delivery: int) -> None:
        if delivery >= MAX_DELIVERIES:
            self.dead_letters.append((body, "max_deliveries"))
        else:
            self._waiting[service].append((body, delivery + 1))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Exists so that wiring treats it as the real bus."""
        yield


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of an object; `body` is None for a delete marker."""

    body: bytes | None
    info: ObjectInfo


class MemoryObjects:
    """Buckets in memory. Reads are pinned as in S3: to a version that is there, or to an ETag that still matches.

    Args:
        versioned: keep what is replaced or deleted, under version ids.

    Attributes:
        faults: raised one by one by the next calls.
    """

    def __init__(self, clock: Clock | None = None, *, versioned: bool = False) -> None:
        self.reads = 0
        self.faults: list[RetryableError] = []
        self._clock, self._versioned = clock or FakeClock(), versioned
        self._stored: dict[tuple[str, str], list[_Version]] = {}
        self._count = 0

    def put(self, bucket: str, key: str, body: bytes) -> ObjectInfo:
        """Store an object whole; returns what a HEAD would tell."""
        return self._add(bucket, key, body).info

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; with versions that is one more of them."""
        if self._versioned:
            self._add(bucket, key, None)
        else:
            self._stored.pop((bucket, key), None)

    async def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo:
        """Return size, ETag and version, or raise `GoneError`."""
        return self._find(bucket, key, version).info

    async def read(
        self, bucket: str, key: str, start: int, stop: int, *, version: str | None = None, etag: str | None = None
    ) -> bytes:  # fmt: skip
        """Return bytes [start, stop), or raise `SupersededError` if the ETag is another one by now."""
        self.reads += 1
        found = self._find(bucket, key, version)
        if etag is not None and found.info.etag != etag:
            raise SupersededError(f"s3://{bucket}/{key} was replaced by another version")
        assert found.body is not None
        return found.body[start:stop]

    async def write(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object whole."""
        self.put(bucket, key, body)

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) in key order."""
        for found_bucket, key in sorted(self._stored):
            newest = self._stored[found_bucket, key][-1]
            if found_bucket == bucket and key.startswith(prefix) and newest.body is not None:
                yield key, newest.info

    def _add(self, bucket: str, key: str, body: bytes | None) -> _Version:
        self._count += 1
        version = f"v{self._count}" if self._versioned else None
        info = ObjectInfo(len(body or b""), hashlib.md5(body or b"", usedforsecurity=False).hexdigest(), version, self._clock.now())
        stored = _Version(body, info)
        before = self._stored.get((bucket, key), []) if self._versioned else []
        self._stored[bucket, key] = [*before, stored]
        return stored

    def _find(self, bucket: str, key: str, version: str | None) -> _Version:
        if self.faults:
            raise self.faults.pop(0)
        versions = self._stored.get((bucket, key), [])
        wanted = [stored for stored in versions if stored.info.version == version] if version else versions[-1:]
        if not wanted or wanted[0].body is None:
            raise GoneError(f"s3://{bucket}/{key} is not there")
        return wanted[0]


class MemoryQueue:
    """A queue in memory: at least once, one ending per delivery; what got none is held until `expire`."""

    def __init__(self, *bodies: str) -> None:
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
        """Let the leases that had no ending lapse: their messages come again."""
        self._waiting += [(lease.body, lease.deliveries) for lease in self.held]
        self.held = []

    def _end(self, lease: MemoryLease) -> None:
        self.held.remove(lease)  # a second ending is an error of the test's subject


class MemoryLease:
    """One message of a `MemoryQueue`."""

    def __init__(self, queue: MemoryQueue, body: str, deliveries: int) -> None:
        self._queue, self.body, self.deliveries = queue, body, deliveries

    async def extend_forever(self) -> None:
        """Hold it."""
        await asyncio.Event().wait()

    async def delete(self) -> None:
        """Settle: done."""
        self._queue._end(self)
        self._queue.deleted.append(self.body)

    async def release(self, delay: float) -> None:
        """Settle: again, here at once."""
        self._queue._end(self)
        self._queue.released.append((self.body, delay))
        self._queue._waiting.append((self.body, self.deliveries))
        self._queue._arrived.set()

    async def dead_letter(self, reason: str, detail: str) -> None:
        """Settle: keep it with its reason."""
        await self._queue.dead_letter(self.body, reason, detail)
        self._queue._end(self)
