"""The loop that leases: never more than its slots, one ending per message, and a stop that gives back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.lifecycle import Health
from driftsonde.core.ports import Lease
from driftsonde.core.testing.queue import MemoryQueue
from driftsonde.detector import consumer
from driftsonde.detector.consumer import consume


class Running:
    """A consumer at work."""

    def __init__(self) -> None:
        self.stop, self.health, self.tally = asyncio.Event(), Health(), Counter[str]()
        self.health.started()


@asynccontextmanager
async def consuming(queue: MemoryQueue, handle: Callable[[Lease], Awaitable[None]], slots: int = 3) -> AsyncIterator[Running]:
    """Consume while the block runs, then stop."""
    running = Running()
    task = asyncio.create_task(
        consume(queue, handle, stop=running.stop, slots=slots, health=running.health, tally=lambda outcome: running.tally.update([outcome]))
    )
    try:
        yield running
    finally:
        running.stop.set()
        await asyncio.wait_for(task, 5)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_slots_are_never_exceeded() -> None:
    queue, most = MemoryQueue(*(str(number) for number in range(20))), 0

    async def handle(_lease: Lease) -> None:
        nonlocal most
        most = max(most, len(queue.held))
        await asyncio.sleep(0.002)

    async with consuming(queue, handle) as running:
        await until(lambda: len(queue.deleted) == 20)
    assert most == 3
    assert max(queue.asked) == 3
    assert running.tally == {"ok": 20}


async def test_slow_message_holds_up_no_other() -> None:
    queue, gate = MemoryQueue("slow", *"abcdef"), asyncio.Event()

    async def handle(lease: Lease) -> None:
        if lease.body == "slow":
            await gate.wait()

    async with consuming(queue, handle):
        await until(lambda: len(queue.deleted) == 6)
        gate.set()
    assert queue.deleted[-1] == "slow"


async def test_stop_finishes_what_was_begun_and_releases_the_rest() -> None:
    queue, begun, gate = MemoryQueue("begun"), asyncio.Event(), asyncio.Event()

    async def handle(_lease: Lease) -> None:
        begun.set()
        await gate.wait()

    async with consuming(queue, handle) as running:
        await begun.wait()
        running.stop.set()
        await queue.send("not begun")  # taken by the poll that is under way
        await until(lambda: queue.released)
        gate.set()
    assert queue.deleted == ["begun"]
    assert queue.released == [("not begun", 0)]


async def test_poison_is_dead_lettered_with_its_reason() -> None:
    queue = MemoryQueue("bad")

    async def handle(_lease: Lease) -> None:
        raise PoisonError("no", reason="not_json")

    async with consuming(queue, handle) as running:
        await until(lambda: queue.dead_letters)
    assert queue.dead_letters == [("bad", "not_json")]
    assert queue.held == []
    assert running.tally == {"not_json": 1}


async def test_retryable_error_releases_for_as_long_as_asked() -> None:
    queue = MemoryQueue("later")

    async def handle(lease: Lease) -> None:
        if lease.deliveries == 1:
            raise RetryableError("away", retry_after=7)

    async with consuming(queue, handle) as running:
        await until(lambda: queue.deleted)
    assert queue.released == [("later", 7)]
    assert running.tally == {"retryable": 1, "ok": 1}


async def test_unknown_error_leaves_the_message_to_its_lease() -> None:
    queue = MemoryQueue("bug", "fine")

    async def handle(lease: Lease) -> None:
        if lease.body == "bug":
            raise ZeroDivisionError

    async with consuming(queue, handle) as running:
        await until(lambda: queue.deleted)
    assert [lease.body for lease in queue.held] == ["bug"]
    assert running.tally == {"bug": 1, "ok": 1}


async def test_queue_that_is_away_is_reported_and_asked_with_pauses() -> None:
    queue = MemoryQueue("a")
    queue.faults = [RetryableError("SQS is away")]

    async def handle(_lease: Lease) -> None: ...

    async with consuming(queue, handle) as running:
        await until(lambda: running.health.problems())
        assert running.health.problems() == ["queue: SQS is away"]
        await asyncio.sleep(0.1)
        assert len(queue.asked) == 1, "it pauses"
        await until(lambda: queue.deleted)
        await until(lambda: not running.health.problems())


async def test_outage_of_what_drops_need_stops_receiving() -> None:
    queue = MemoryQueue(*(str(number) for number in range(50)))

    async def handle(_lease: Lease) -> None:
        raise RetryableError("S3 is away")

    async with consuming(queue, handle) as running:
        await until(lambda: running.health.problems())
        await asyncio.sleep(0.3)
        assert len(queue.released) <= 9, "not released over and over"
        running.stop.set()


@pytest.mark.parametrize("messages", [1, 40])
async def test_outage_of_ten_minutes_delivers_no_message_too_often(messages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, deliveries, past = MemoryQueue(*(str(number) for number in range(messages))), Counter[str](), 0.0

    async def wait(_stop: asyncio.Event, seconds: float) -> None:
        nonlocal past
        past += seconds
        await asyncio.sleep(0)

    async def handle(lease: Lease) -> None:
        deliveries[lease.body] = lease.deliveries
        if past < 600:
            raise RetryableError("S3 is away")

    monkeypatch.setattr(consumer, "wait_or_stop", wait)
    async with consuming(queue, handle, slots=8):
        await until(lambda: len(queue.deleted) == messages)
    assert past >= 600
    assert sum(deliveries.values()) <= messages + 30


async def test_dead_letter_queue_that_is_away_loses_nothing() -> None:
    class Away(MemoryQueue):
        async def dead_letter(self, body: str, reason: str, detail: str) -> None:
            raise RetryableError("away")

    queue = Away("bad")

    async def handle(_lease: Lease) -> None:
        raise PoisonError("no")

    async with consuming(queue, handle) as running:
        await until(lambda: running.tally)
    assert [lease.body for lease in queue.held] == ["bad"]
    assert running.tally == {"retryable": 1}


async def test_work_is_given_up_when_the_lease_is_lost() -> None:
    queue, begun, written = MemoryQueue("slow"), asyncio.Event(), []

    async def handle(lease: Lease) -> None:
        begun.set()
        await asyncio.sleep(0.05)
        written.append(lease.deliveries)

    async with consuming(queue, handle) as running:
        await begun.wait()
        queue.lose()
        await until(lambda: running.tally["ok"])
    assert written == [2]
    assert running.tally == {"retryable": 1, "ok": 1}
    assert queue.deleted == ["slow"]


async def test_a_flood_of_poison_is_left_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_FLOOD_OF", 10)
    queue = MemoryQueue(*(f"bad {number}" for number in range(200)))

    async def handle(_lease: Lease) -> None:
        raise PoisonError("no", reason="not_json")

    async with consuming(queue, handle) as running:
        await until(running.health.problems)
        await asyncio.sleep(0.1)
        assert "poison" in str(running.health.problems())
        assert len(queue.dead_letters) < 20


async def test_readable_messages_end_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_FLOOD_OF", 10)
    monkeypatch.setattr(consumer, "_FIRST_PAUSE", 0.01)
    queue = MemoryQueue(*(f"bad {number}" for number in range(12)), *(f"good {number}" for number in range(30)))

    async def handle(lease: Lease) -> None:
        if lease.body.startswith("bad"):
            raise PoisonError("no", reason="not_json")

    async with consuming(queue, handle) as running:
        await until(lambda: len(queue.deleted) == 30)
        await until(lambda: not running.health.problems())
    assert len(queue.dead_letters) == 12


async def test_some_poison_among_much_that_is_good_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_FLOOD_OF", 10)
    queue = MemoryQueue(*("bad" if number % 10 == 0 else "good" for number in range(100)))

    async def handle(lease: Lease) -> None:
        if lease.body == "bad":
            raise PoisonError("no", reason="not_json")

    async with consuming(queue, handle) as running:
        await until(lambda: len(queue.deleted) + len(queue.dead_letters) == 100)
        assert running.health.problems() == []


class Seen:
    """Who is told of leases."""

    def __init__(self) -> None:
        self.held: set[Lease] = set()
        self.most, self.polls = 0, 0

    def polled(self, seconds: float, leases: Sequence[Lease]) -> None:
        """Note what is held."""
        assert seconds >= 0
        self.polls += 1
        self.held |= set(leases)
        self.most = max(self.most, len(self.held))

    def ended(self, lease: Lease) -> None:
        """Note what is held no more."""
        self.held.remove(lease)


async def test_leases_are_told_from_their_poll_to_their_end() -> None:
    queue, seen, stop = MemoryQueue("good", "bad", "away"), Seen(), asyncio.Event()
    errors: dict[str, Exception] = {"bad": PoisonError("no", reason="unknown_shape"), "away": RetryableError("away")}

    async def handle(lease: Lease) -> None:
        if lease.body in errors and lease.deliveries == 1:
            raise errors[lease.body]

    health = Health()
    task = asyncio.create_task(consume(queue, handle, stop=stop, slots=3, health=health, tally=lambda _outcome: None, watch=seen))
    await until(lambda: len(queue.deleted) == 2 and seen.polls > 2 and not seen.held)
    stop.set()
    await asyncio.wait_for(task, 5)
    assert seen.most == 3
    assert not seen.held
