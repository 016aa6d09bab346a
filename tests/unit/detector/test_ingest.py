"""One drop: duplicates, overwrites, removals, and everything that is wrong with objects."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from driftsonde.core.drops import Drop
from driftsonde.core.errors import RetryableError, UnreadableObject

from .conftest import MakeRig
from .support import BUCKET, GARBAGE, NOON, Rig, drop_body, parquet, rows


async def test_drop_becomes_one_part_and_a_verdict(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    assert await rig.take(rig.put("in/1", drop_body())) == ["counted"]
    await rig.evaluated()
    assert list(rig.parts()) == [("s3://acme/in/1", "in/1")]
    assert rig.verdicts() == {"1": "ok"}
    assert rig.counted("rows_total") == 200


async def test_same_event_again_changes_nothing(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    drop = rig.put("in/1", drop_body())
    await rig.take(drop)
    before = rig.parts(), rig.select("object")
    rig.clock.advance(timedelta(days=14))
    assert await rig.take(drop, drop) == ["duplicate", "duplicate"]
    assert (rig.parts(), rig.select("object")) == before
    assert rig.counted("rows_total") == 200


async def test_overwrite_replaces_the_part_of_before(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    first = rig.put("in/1", drop_body(200))
    await rig.take(first)
    second = rig.put("in/1", drop_body(300))
    assert await rig.take(second, first) == ["counted", "stale"]
    assert [row["rows"] for row in rig.select("part")] == [300]


async def test_event_of_replaced_object_is_superseded_once(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    first, second = rig.put("in/1", drop_body(200)), rig.put("in/1", drop_body(300))
    assert await rig.take(first, first, second) == ["superseded", "duplicate", "counted"]
    assert rig.select("object")[0]["first_seen"] == first.event_time


async def test_deleted_object_is_gone_once_without_retry(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    drop = rig.put("in/1", drop_body())
    rig.objects.delete(BUCKET, "in/1")
    assert await rig.take(drop, drop) == ["gone", "duplicate"]
    assert rig.parts() == {}


async def test_version_that_was_replaced_is_still_read(make_rig: MakeRig) -> None:
    rig = await make_rig(versioned=True).adopt()
    first = rig.put("in/1", drop_body(200))
    rig.put("in/1", drop_body(300))
    assert await rig.take(first) == ["counted"]
    assert rig.select("part")[0]["rows"] == 200


@pytest.mark.parametrize(
    ("body", "outcome", "verdict"),
    [
        (b"", "empty", "insufficient"),
        (parquet(rows(0)), "empty", "insufficient"),
        (b"x,c\n", "empty", "insufficient"),
        (parquet(pa.table({"x": pa.nulls(200, pa.float64()), "c": ["a"] * 200})), "counted", "drift"),
        (parquet(pa.table({"x": [float("inf")] * 200, "c": ["a"] * 200})), "counted", "untrusted"),
        (parquet(rows(200).drop_columns(["c"])), "counted", "untrusted"),
        (parquet(rows(200).append_column("new", pa.array(range(200)))), "counted", "ok"),
        (parquet(pa.table({"x": ["text"] * 200, "c": ["a", "b"] * 100})), "counted", "untrusted"),
        (GARBAGE, "unreadable", "untrusted"),
        (b"x,c\n1,a\n" + b"1,2,3,4\n" * 50, "bad_rows", "untrusted"),
    ],
    ids=["0 bytes", "0 rows", "header only", "all null", "all infinite", "column gone", "column new", "type changed", "damaged", "ragged"],
)
async def test_strange_drops_end_with_their_verdict(rig: Rig, body: bytes, outcome: str, verdict: str) -> None:
    await rig.adopt()
    assert await rig.take(rig.put("in/1.csv" if body.startswith(b"x") else "in/1", body)) == [outcome]
    await rig.evaluated()
    assert rig.verdicts() == {("1.csv" if body.startswith(b"x") else "1"): verdict}


async def test_unreadable_drop_is_told_once(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    drop = rig.put("in/1", GARBAGE)
    for _ in range(3):  # a crash before the dead letter must not swallow it: every delivery raises
        with pytest.raises(UnreadableObject):
            await rig.ingest.drop(rig.monitor, drop)
    assert [fact["drop"]["key"] for fact in rig.facts("drop.rejected")] == ["in/1"]
    assert len(rig.parts()) == 1


async def test_readable_version_heals_an_unreadable_one(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", GARBAGE))
    await rig.evaluated()
    assert rig.verdicts() == {"1": "untrusted"}
    await rig.take(rig.put("in/1", drop_body()))
    await rig.evaluated()
    assert rig.verdicts() == {"1": "ok"}
    assert rig.episodes() == [(1, "untrusted", "1", "revised")]
    assert [(fact["before"], fact["after"]) for fact in rig.facts("verdict.revised")] == [("untrusted", "ok")]


async def test_replayed_dead_letter_is_read_again(make_rig: MakeRig) -> None:
    rig = await make_rig(versioned=True).adopt()
    drop = rig.put("in/1.parquet", b"x,c\n1,a\n")
    assert await rig.take(drop) == ["unreadable"]
    repaired = rig.replica()
    repaired.config = rig.config.model_copy(update={"monitors": (rig.monitor.model_copy(update={"format": "csv"}),)})
    assert await repaired.take(drop) == ["counted"]


async def test_access_that_fails_counts_nothing(rig: Rig) -> None:
    await rig.adopt()
    drop = rig.put("in/1", drop_body())
    rig.objects.faults.append(RetryableError("access denied"))
    with pytest.raises(RetryableError):
        await rig.ingest.drop(rig.monitor, drop)
    assert rig.select("object") == []


async def test_removal_is_ignored_unless_asked_for(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    assert await rig.take(rig.put("in/1", drop_body())) == ["counted"]
    assert await rig.take(rig.remove("in/1")) == ["removed"]
    assert len(rig.parts()) == 1


async def test_retraction_takes_the_window_away(make_rig: MakeRig) -> None:
    rig = await make_rig(on_remove="retract").adopt()
    await rig.take(rig.put("in/1", drop_body()), rig.put("in/2", drop_body(shift=1.0)))
    await rig.evaluated()
    removal = rig.remove("in/2")
    assert await rig.take(removal, removal) == ["retracted", "duplicate"]
    await rig.evaluated()
    assert rig.verdicts() == {"1": "ok"}
    assert rig.episodes() == [(1, "drift", "2", "revised")]
    assert rig.select("dirty") == []


async def test_object_that_comes_back_is_counted_again(make_rig: MakeRig) -> None:
    rig = await make_rig(on_remove="retract").adopt()
    await rig.take(rig.put("in/1", drop_body(shift=1.0)))
    await rig.evaluated()
    await rig.take(rig.remove("in/1"))
    await rig.evaluated()
    assert await rig.take(rig.put("in/1", drop_body(shift=1.0))) == ["counted"]
    await rig.evaluated()
    assert rig.verdicts() == {"1": "drift"}
    assert [row["revision"] for row in rig.select("window")] == [2]  # it counts on: an event's identity must not come twice
    assert rig.episodes() == [(1, "drift", "1", "revised"), (2, "drift", "1", None)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (3, 0, 2, 1)])
async def test_last_of_creations_and_removals_wins(make_rig: MakeRig, order: tuple[int, ...]) -> None:
    rig = await make_rig(on_remove="retract", versioned=True).adopt()
    events = [rig.put("in/1", drop_body(200)), rig.remove("in/1"), rig.put("in/1", drop_body(300)), rig.remove("in/1")]
    await rig.take(*(events[place] for place in order))
    assert rig.parts() == {}
    assert rig.select("object")[0]["tombstone"]
    assert rig.select("object")[0]["first_seen"] == events[0].event_time


async def test_deleting_an_old_version_retracts_nothing(make_rig: MakeRig) -> None:
    rig = await make_rig(on_remove="retract", versioned=True).adopt()
    old, new = rig.put("in/1", drop_body(200)), rig.put("in/1", drop_body(300))
    await rig.take(old, new)
    assert await rig.take(rig.event("in/1", kind="removed", version=old.version)) == ["stale"]
    assert len(rig.parts()) == 1


def without_sequencer(drop: Drop) -> Drop:
    return replace(drop, sequencer=None)


async def test_times_order_events_without_sequencers(make_rig: MakeRig) -> None:
    rig = await make_rig(versioned=True).adopt()
    first, second = without_sequencer(rig.put("in/1", drop_body(200))), without_sequencer(rig.put("in/1", drop_body(300)))
    assert await rig.take(second, first, second) == ["counted", "stale", "duplicate"]
    assert rig.select("part")[0]["rows"] == 300


async def test_content_that_came_back_is_the_latest(make_rig: MakeRig) -> None:
    rig = await make_rig(versioned=False).adopt()
    first = without_sequencer(rig.put("in/1", drop_body(200)))
    between = without_sequencer(rig.put("in/1", drop_body(300)))
    again = without_sequencer(rig.put("in/1", drop_body(200)))
    assert await rig.take(first, again, between) == ["counted", "duplicate", "stale"]
    assert rig.select("part")[0]["rows"] == 200


@pytest.mark.parametrize("stored", ["old", "new"])
async def test_bucket_decides_what_times_cannot_order(make_rig: MakeRig, stored: str) -> None:
    rig = await make_rig(versioned=True).adopt()
    old = without_sequencer(rig.put("in/1", drop_body(200), at=NOON))
    new = without_sequencer(rig.put("in/1", drop_body(300), at=NOON))
    events = (old, new) if stored == "old" else (new, old)
    assert await rig.take(*events) == ["counted", "counted" if stored == "old" else "stale"]
    assert rig.select("part")[0]["rows"] == 300


async def test_order_that_nothing_can_tell_keeps_what_is_known(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    first = replace(rig.put("in/1", drop_body()), sequencer="5")
    await rig.take(first)
    rig.objects.delete(BUCKET, "in/1")
    # Padded on the left this one is newer, padded on the right older.
    assert await rig.take(replace(first, sequencer="10", etag="other")) == ["stale"]
    assert len(rig.parts()) == 1


async def test_pending_drops_are_read_when_there_is_a_baseline(make_rig: MakeRig) -> None:
    rig = make_rig()
    good, bad, gone = rig.put("in/1", drop_body()), rig.put("in/2", GARBAGE), rig.put("in/3", drop_body())
    assert await rig.take(good, good, bad, gone) == ["pending", "duplicate", "pending", "pending"]
    assert await rig.pending.take() == 0
    rig.objects.delete(BUCKET, "in/3")
    await rig.adopt()
    assert await rig.pending.take() == 3
    assert await rig.pending.take() == 0
    assert rig.objects_known() == {"in/1": "counted", "in/2": "unreadable", "in/3": "gone"}
    assert rig.outcomes() == {"counted": 1, "unreadable": 1, "gone": 1}
    assert [reason for _, reason in rig.queue.dead_letters] == ["unreadable"]


async def test_newer_version_of_a_pending_drop_replaces_it(make_rig: MakeRig) -> None:
    rig = make_rig(versioned=True)
    first, second = rig.put("in/1", drop_body(200)), rig.put("in/1", drop_body(300))
    assert await rig.take(second, first) == ["pending", "stale"]
    await rig.adopt()
    await rig.pending.take()
    assert [row["rows"] for row in rig.select("part")] == [300]


async def test_each_monitor_counts_a_drop_for_itself(make_rig: MakeRig) -> None:
    rig = await make_rig(monitors=2).adopt()
    drop = rig.put("in/1", drop_body())
    for monitor in rig.config.monitors:
        assert await rig.ingest.drop(monitor, drop) == "counted"
    assert [row["monitor"] for row in rig.select("part")] == ["churn", "fraud"]
