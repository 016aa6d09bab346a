"""What every bus must do, stated once and inherited by the test of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from driftsonde.core.bus import RunningBus
from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.events import BaselineAdopted, BaselineRef, DriftResolved, Event


def resolved(episode: int) -> Event:
    """Return an event, another one for each episode."""
    fact = DriftResolved(monitor="churn", episode=episode, kind="drift", cause="recovered")
    return Event.of(fact, time=datetime(2026, 1, 1, tzinfo=UTC))


class Recorder:
    """A handler that notes what it got, and fails the first times it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.seen: list[Event] = []
        self._errors = list(errors)

    async def __call__(self, event: Event) -> str:
        """Take one event."""
        self.seen.append(event)
        if self._errors:
            raise self._errors.pop(0)
        return "ok"

    @property
    def episodes(self) -> list[int | None]:
        """The episodes of the events, as they came."""
        return [event.data.episode for event in self.seen]


class BusContract:
    """Inherit, and provide what is abstract here."""

    def make(self) -> RunningBus:
        """Return a new connection to the same bus."""
        raise NotImplementedError

    async def settle(self, bus: RunningBus, until: Callable[[], bool]) -> None:
        """Let the bus deliver until the condition holds."""
        raise NotImplementedError

    async def dead_letters(self, bus: RunningBus) -> list[str]:
        """Return the reasons of the dead letters."""
        raise NotImplementedError

    async def publish_raw(self, bus: RunningBus, body: bytes) -> None:
        """Publish a body that is no event, where events of type drift.resolved are published."""
        raise NotImplementedError

    async def test_event_reaches_every_service_once(self) -> None:
        """Two services, one event."""
        bus, one, two = self.make(), Recorder(), Recorder()
        bus.subscribe("one", ["drift.resolved"], one)
        bus.subscribe("two", ["drift.resolved"], two)
        async with bus.running():
            await bus.publish(resolved(1))
            await self.settle(bus, lambda: bool(one.seen and two.seen))
        assert one.episodes == two.episodes == [1]

    async def test_repeat_of_same_attempt_is_dropped(self) -> None:
        """The broker recognises a repeat."""
        bus, handler = self.make(), Recorder()
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            for episode in (1, 1, 2):
                await bus.publish(resolved(episode))
            await self.settle(bus, lambda: 2 in handler.episodes)
        assert handler.episodes == [1, 2]

    async def test_higher_attempt_is_delivered_again(self) -> None:
        """A forgetful broker is repaired by publishing again."""
        bus, handler = self.make(), Recorder()
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await bus.publish(resolved(1))
            await bus.publish(resolved(1), attempt=1)
            await self.settle(bus, lambda: len(handler.seen) == 2)
        assert handler.seen[0].id == handler.seen[1].id

    async def test_retryable_error_is_delivered_again(self) -> None:
        """What may succeed later is tried later."""
        bus, handler = self.make(), Recorder(RetryableError("not now", retry_after=0.1))
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await bus.publish(resolved(1))
            await self.settle(bus, lambda: len(handler.seen) == 2)
        assert handler.episodes == [1, 1]

    async def test_unknown_error_is_delivered_again(self) -> None:
        """A bug loses no event."""
        bus, handler = self.make(), Recorder(ZeroDivisionError("a bug"))
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await bus.publish(resolved(1))
            await self.settle(bus, lambda: len(handler.seen) == 2)
        assert await self.dead_letters(bus) == []

    async def test_poison_is_dead_lettered_with_its_reason(self) -> None:
        """Poison is not tried again, and does not hold up what follows."""
        bus, handler = self.make(), Recorder(PoisonError("never", reason="bad_event"))
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await bus.publish(resolved(1))
            await bus.publish(resolved(2))
            await self.settle(bus, lambda: 2 in handler.episodes)
            assert await self.dead_letters(bus) == ["bad_event"]
        assert handler.episodes == [1, 2]

    async def test_body_that_is_no_event_is_dead_lettered(self) -> None:
        """Whatever somebody publishes, the handler sees events only."""
        bus, handler = self.make(), Recorder()
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            for body in (b"\xff not json", b'{"specversion": "1.0"}'):
                await self.publish_raw(bus, body)
            await bus.publish(resolved(2))
            await self.settle(bus, lambda: bool(handler.seen))
            assert sorted(await self.dead_letters(bus)) == ["bad_event", "not_json"]
        assert handler.episodes == [2]

    async def test_service_gets_only_the_types_it_asked_for(self) -> None:
        """Other types are not even delivered."""
        bus, handler = self.make(), Recorder()
        bus.subscribe("one", ["drift.resolved"], handler)
        adopted = BaselineAdopted(monitor="churn", baseline=BaselineRef(version=1, digest="d", rows=1))
        async with bus.running():
            await bus.publish(Event.of(adopted, time=datetime.now(UTC)))
            await bus.publish(resolved(1))
            await self.settle(bus, lambda: bool(handler.seen))
        assert handler.episodes == [1]

    async def test_events_come_in_the_order_published(self) -> None:
        """Order is kept even around a retry."""
        bus, handler = self.make(), Recorder(RetryableError("not now", retry_after=0.1))
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            for episode in range(1, 6):
                await bus.publish(resolved(episode))
            await self.settle(bus, lambda: 5 in handler.episodes)
        assert handler.episodes == [1, 1, 2, 3, 4, 5]


async def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition, and a little longer, so that what should not come has its chance to.

    Raises:
        TimeoutError: if it does not come.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
