"""Whatever the order of events, and however often each comes: the same parts, windows, verdicts and episodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from driftsonde.core.drops import Drop
from driftsonde.core.monitoring.episode import Judged, find_spans
from driftsonde.core.testing.objects import MemoryObjects
from driftsonde.detector import store

from .support import BY_TIME, DAY, GARBAGE, HOUR, NOON, Rig, config, drop_body, timed

# No shrinking: a step takes milliseconds, and a failure should be told before the test's own time is up.
STEADY = settings(derandomize=True, deadline=None, max_examples=30, database=None, phases=[Phase.generate])
EVALUATE = -1
_KEPT = {"baseline"}


def by_object(rig: Rig) -> list[Drop]:
    """Overwrites, a retraction, something unreadable that is healed, something that is not; too few rows to judge without look-back."""
    return [
        rig.put("in/1", drop_body(60, 1.5, 1)), rig.put("in/2", drop_body(70, 1.0, 2)), rig.put("in/3", drop_body(60, 0.0, 3)),
        rig.put("in/2", drop_body(50, 0.0, 4)), rig.put("in/4", GARBAGE), rig.put("in/5", drop_body(60, 1.5, 5)),
        rig.put("in/6", drop_body(60, 0.8, 6)), rig.put("in/7", GARBAGE), rig.put("in/1", drop_body(40, 1.9, 7)), rig.remove("in/6"),
        rig.put("in/8", drop_body(60, 0.7, 8)), rig.put("in/4", drop_body(50, 0.0, 9)), rig.put("in/9", drop_body(60, 0.6, 10)),
    ]  # fmt: skip


def by_time(rig: Rig) -> list[Drop]:
    """Drops over several hours each, some late, some replaced, some without any usable time."""

    def hours(first: float, last: float, shift: float, seed: int) -> bytes:
        step = (last - first) * HOUR / 240
        return timed([NOON - DAY + first * HOUR + place * step for place in range(240)], shift, seed)

    return [
        rig.put("in/1", hours(0, 2, 0.0, 1)), rig.put("in/2", hours(2, 4, 1.0, 2)), rig.put("in/3", hours(1, 5, 0.0, 3)),
        rig.put("in/2", hours(2, 3, 0.0, 4)), rig.put("in/4", GARBAGE, at=NOON - DAY + 3.5 * HOUR),
        rig.put("in/5", hours(5, 6, 1.0, 5)), rig.put("in/6", hours(4, 7, 0.0, 6)), rig.put("in/5", hours(6, 8, 1.0, 7)), rig.remove("in/6"),
        rig.put("in/7", timed([None] * 50)), rig.put("in/8", hours(7, 9, 0.0, 8)),
    ]  # fmt: skip


@pytest.fixture
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Rig, list[Drop]]]:
    """A detector with a baseline, and the events to be ordered."""
    window, events = request.param
    rig = Rig(f"sqlite:///{tmp_path}/d.db", config(window=window, on_remove="retract"), objects=MemoryObjects(versioned=True))
    asyncio.run(rig.adopt())
    yield rig, events(rig)
    rig.close()


def forget(rig: Rig) -> None:
    """Empty every table but the baseline's."""
    with rig.database.write() as connection:
        for table in store.metadata.sorted_tables:
            if table.name not in _KEPT:
                connection.execute(table.delete())


async def run(rig: Rig, events: Sequence[Drop], schedule: Sequence[int]) -> dict[str, Any]:
    """Follow a schedule of events and evaluations from an empty store, to the end; returns all that must not depend on it."""
    forget(rig)
    for step in schedule:
        if step <= EVALUATE:
            await rig.evaluated()
        else:
            await rig.take(events[step])
    rig.clock.advance(timedelta(days=1))  # so that every window by time is over
    await rig.evaluated()
    windows = [row for row in rig.select("window") if row["baseline"] is not None]
    spans = find_spans([Judged(w, word or "") for w, word in rig.verdicts().items()], clear_after=rig.monitor.policy.clear_after)
    stored = rig.select("episode")
    for span in spans:
        mine = [e for e in stored if e["kind"] == span.kind and e["opened"].removeprefix("s3://acme/in/") in span.windows]
        assert sum(e["is_open"] for e in mine) == (span.cleared is None), "one open episode for each that is not over"
        assert mine, "every episode was announced"
    assert sum(e["is_open"] for e in stored) == sum(span.cleared is None for span in spans), "none is open without a cause"
    assert rig.select("dirty") == []
    left_out = {"revision", "judged_at", "first_drop"}
    return {
        "parts": rig.parts(),
        "windows": [{name: value for name, value in row.items() if name not in left_out} for row in windows],
        "episodes": spans,
        "objects": [(row["key"], row["outcome"], row["first_seen"], row["sequencer"]) for row in rig.select("object")],
    }


def schedules(count: int) -> st.SearchStrategy[list[int]]:
    """Every event at least once, in any order, with repeats and evaluations anywhere."""
    steps = st.lists(st.integers(EVALUATE - 3, count - 1), max_size=15)
    return st.builds(
        lambda first, order, cuts: [*first, *_cut(order, cuts)], steps, st.permutations(range(count)), st.sets(st.integers(0, count))
    )


def _cut(order: Sequence[int], cuts: set[int]) -> list[int]:
    return [step for place, event in enumerate(order) for step in ([EVALUATE, event] if place in cuts else [event])]


@pytest.mark.parametrize("subject", [({"by": "object"}, by_object), (BY_TIME, by_time)], ids=["object", "time"], indirect=True)
def test_any_order_and_repetition_ends_the_same(subject: tuple[Rig, list[Drop]]) -> None:
    rig, events = subject
    expected = asyncio.run(run(rig, events, range(len(events))))
    assert len(expected["episodes"]) >= 2, "the events are worth ordering"

    @STEADY
    @given(schedules(len(events)))
    def check(schedule: list[int]) -> None:
        assert asyncio.run(run(rig, events, schedule)) == expected

    check()
