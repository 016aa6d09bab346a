"""Two replicas on one PostgreSQL, at the same moment, on the same things."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection

from driftsonde.core.drops import Drop
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.testing.objects import MemoryObjects
from driftsonde.detector.measure import Measured

from .support import BY_TIME, DAY, HOUR, NOON, Rig, baseline_body, config, drop_body, timed

DRIFT = drop_body(200, 1.0, 1)
ROUNDS = 6


@pytest.fixture
def pair(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[tuple[Rig, Rig]]:
    """Two detectors over the same database and buckets."""
    changes = getattr(request, "param", {})
    one = Rig(postgres_url, config(**changes), objects=MemoryObjects(versioned=True))
    asyncio.run(one.adopt())
    yield one, one.replica()
    one.close()


def race(*works: Callable[[], Any]) -> list[Any]:
    """Start all works in threads at the same moment, and return what they gave."""
    barrier, results = threading.Barrier(len(works)), [None] * len(works)

    def run(place: int) -> None:
        barrier.wait()
        results[place] = works[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def taking(rig: Rig, *drops: Drop) -> Callable[[], list[str]]:
    """Return the work of ingesting some drops."""
    return lambda: asyncio.run(rig.take(*drops))


def sweeping(rig: Rig) -> Callable[[], None]:
    """Return the work of judging what is dirty."""
    return lambda: asyncio.run(rig.judge.sweep())


def during(rig: Rig, transaction: Callable[[Connection], Any], work: Callable[[], Any]) -> Any:
    """Do `work` in a thread while a replica has done all of a transaction but its commit; returns what it gave."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    with rig.database.write() as connection:
        transaction(connection)
        thread.start()
        thread.join(0.3)
    thread.join()
    return results[0]


def relaying(rig: Rig) -> Callable[[], bool]:
    """Return the work of publishing what waits."""
    return lambda: asyncio.run(rig.relay.publish_once())


def test_same_new_drop_is_counted_by_one(pair: tuple[Rig, Rig]) -> None:
    for number in range(ROUNDS):
        drop = pair[0].put(f"in/{number}", DRIFT)
        outcomes = race(*(taking(rig, drop) for rig in pair))
        assert sorted(outcomes) == [["counted"], ["duplicate"]]
    assert len(pair[0].parts()) == ROUNDS


@pytest.mark.parametrize("pair", [{}, {"window": BY_TIME}, {"window": {"by": "rows", "size": 100_000}}], indirect=True)
def test_two_versions_at_once_leave_the_newer(pair: tuple[Rig, Rig]) -> None:
    times = [NOON - DAY + place * HOUR / 10 for place in range(30)]
    for number in range(ROUNDS):
        drops = [pair[0].put(f"in/{number}", timed(times[:size])) for size in (10, 30)]
        race(*(taking(rig, drop) for rig, drop in zip(pair, drops, strict=True)))
    rows: dict[str, int] = {}
    for row in pair[0].select("part"):
        rows[row["key"]] = rows.get(row["key"], 0) + row["rows"]
    assert rows == {f"in/{number}": 30 for number in range(ROUNDS)}


@pytest.mark.parametrize("pair", [{"window": BY_TIME}], indirect=True)
def test_many_drops_into_the_same_windows_are_all_counted(pair: tuple[Rig, Rig]) -> None:
    times = [NOON - DAY + place * HOUR / 10 for place in range(40)]
    drops = [pair[0].put(f"in/{number}", timed(times, seed=number)) for number in range(12)]
    halves = drops[::2], list(reversed(drops[1::2]))
    race(*(taking(rig, *half) for rig, half in zip(pair, halves, strict=True)))
    assert sum(row["rows"] for row in pair[0].select("part")) == 12 * 40
    assert {row["marks"] for row in pair[0].select("dirty")} == {12}, "no mark was lost"


@pytest.mark.parametrize("pair", [{"window": {"by": "rows", "size": 500}}], indirect=True)
def test_rows_windows_are_filled_by_one_at_a_time(pair: tuple[Rig, Rig]) -> None:
    drops = [pair[0].put(f"in/{number}", drop_body(200)) for number in range(12)]
    halves = drops[::2], drops[1::2]
    race(*(taking(rig, *half) for rig, half in zip(pair, halves, strict=True)))
    sizes: dict[str, int] = {}
    for row in pair[0].select("part"):
        sizes[row["window"]] = sizes.get(row["window"], 0) + row["rows"]
    assert list(sizes.values()) == [600, 600, 600, 600]


@pytest.mark.parametrize("pair", [{"window": {"by": "rows", "size": 500}}], indirect=True)
def test_rows_window_that_is_just_being_filled_is_full(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    asyncio.run(one.take(one.put("in/0", drop_body(400))))
    filling, next_one = one.put("in/1", drop_body(200)), one.put("in/2", drop_body(200))
    baseline = FrozenBaseline.from_bytes(baseline_body())
    sketch = baseline.empty_sketch()
    sketch.rows = 200
    measured = Measured({filling.uri: sketch}, 1, 200)
    assert during(one, lambda c: one.ledger.commit(c, one.monitor, filling, measured), taking(other, next_one)) == ["counted"]
    assert [(window[-1], key) for window, key in one.parts()] == [("1", "in/0"), ("1", "in/1"), ("2", "in/2")]


def test_two_judges_open_one_episode(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    asyncio.run(one.take(*(one.put(f"in/{number}", DRIFT) for number in range(3))))
    during(one, lambda connection: one.evaluate(connection, one.monitor), sweeping(other))
    assert one.episodes() == [(1, "drift", "0", None)]
    assert len(one.facts("drift.detected")) == 1
    assert one.select("dirty") == []
    assert other.counted("judge_failures_total") == 0


def test_new_drop_waits_for_no_judge(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    asyncio.run(one.take(one.put("in/1", DRIFT)))
    outcome: list[str] = []
    with one.database.write() as connection:
        one.evaluate(connection, one.monitor)
        thread = threading.Thread(target=lambda: outcome.extend(taking(other, other.put("in/2", DRIFT))()))
        thread.start()
        thread.join(10)
        assert outcome == ["counted"], "ingestion takes no lock of the monitor"


def test_drops_that_come_while_judging_are_judged(pair: tuple[Rig, Rig]) -> None:
    drops = [pair[0].put(f"in/{number:02}", DRIFT if number % 3 else drop_body()) for number in range(16)]

    def judge() -> None:
        for _ in range(16):
            asyncio.run(pair[1].judge.sweep())

    race(taking(pair[0], *drops), judge)
    asyncio.run(pair[1].judge.sweep())
    assert pair[0].select("dirty") == []
    assert all(word is not None for word in pair[0].verdicts().values())
    assert pair[1].counted("judge_failures_total") == 0


@pytest.mark.parametrize("pair", [{"on_remove": "retract"}], indirect=True)
def test_window_emptied_while_it_is_filled_keeps_the_part(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    for _ in range(ROUNDS):
        asyncio.run(one.take(one.put("in/1", DRIFT)))
        asyncio.run(one.take(one.remove("in/1")))
        again = one.put("in/1", DRIFT)
        race(taking(one, again), sweeping(other))
        asyncio.run(other.judge.sweep())
        assert one.verdicts() == {"1": "drift"}
        assert len(one.parts()) == 1
        asyncio.run(one.take(one.remove("in/1")))
        asyncio.run(other.judge.sweep())
        assert one.verdicts() == {}


def test_two_relays_publish_in_order(pair: tuple[Rig, Rig]) -> None:
    asyncio.run(pair[0].take(*(pair[0].put(f"in/{number}", DRIFT) for number in range(3))))
    asyncio.run(pair[0].judge.sweep())
    pair[1].relay._bus = pair[0].bus
    race(*(relaying(rig) for rig in pair))
    assert [event.data.TYPE for event in pair[0].bus.published] == ["baseline.adopted", "drift.detected"]
