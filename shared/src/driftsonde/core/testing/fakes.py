"""In-memory fakes that keep the real rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.events import PREFIX, Event, parse_event
from driftsonde.core.ports import Handler

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
            self._waiting[service].insert(0, (body, delivery + 1))  # order is kept

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Exists so that wiring treats it as the real bus."""
        yield
