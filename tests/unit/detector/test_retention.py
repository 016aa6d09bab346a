"""What is kept, made one, and forgotten; and that what comes late then changes nothing."""

from __future__ import annotations

from datetime import timedelta

from driftsonde.core.sketch.codec import decode_table
from driftsonde.core.sketch.table import merge
from driftsonde.detector import store
from driftsonde.detector.baselines import load
from driftsonde.detector.retention import Retention

from .conftest import MakeRig
from .support import BY_TIME, DAY, HOUR, NOON, Rig, drop_body, timed


def hours(*numbers: int, seed: int = 0) -> bytes:
    """Return a drop with 200 rows in each of some hours after noon."""
    return timed([NOON + number * HOUR + second * timedelta(seconds=1) for number in numbers for second in range(200)], seed=seed)


def retention(rig: Rig, *, parts: int = 30, windows: int = 400) -> Retention:
    return Retention(rig.database, rig.config, rig.clock, keep_parts=parts * DAY, keep_windows=windows * DAY)


async def three_hours(make_rig: MakeRig) -> Rig:
    """Return a rig with two drops in each of two hours that were judged, and one in a third."""
    rig = await make_rig(window=BY_TIME).adopt()
    await rig.take(
        rig.put("in/1", hours(0, 1)), rig.put("in/2", hours(0, seed=2)), rig.put("in/3", hours(1, seed=3)), rig.put("in/4", hours(2))
    )
    rig.clock.advance(5 * HOUR)
    await rig.evaluated()
    return rig


async def test_old_parts_are_made_one_that_is_their_sum(make_rig: MakeRig) -> None:
    rig = await three_hours(make_rig)
    before, verdicts = rig.select("part"), rig.verdicts()
    rig.clock.advance(29 * DAY)
    await retention(rig).tidy()
    assert rig.select("part") == before
    rig.clock.advance(2 * DAY)
    await retention(rig).tidy()
    with rig.database.read() as connection:
        layout = load(connection, "churn", 1).layout
    after = {row["window"]: row for row in rig.select("part")}
    assert len(after) == len(rig.select("part")) == 3
    for window, row in after.items():
        whole = merge(layout, [decode_table(part["sketch"], layout) for part in before if part["window"] == window])
        assert decode_table(row["sketch"], layout) == whole
        assert (row["bucket"], row["key"], row["rows"]) == ("", "", whole.rows)
    assert rig.verdicts() == verdicts
    assert await rig.evaluated() is not None
    assert rig.verdicts() == verdicts


async def test_compacted_window_is_final_for_new_replaced_and_repeated_drops(make_rig: MakeRig) -> None:
    rig = await three_hours(make_rig)
    rig.clock.advance(31 * DAY)
    await retention(rig).tidy()
    before = rig.select("part")
    repeated = rig.event("in/2", etag=next(row["etag"] for row in rig.select("object") if row["key"] == "in/2"))
    late, replaced = rig.put("in/late", hours(0, seed=7)), rig.put("in/3", hours(1, seed=8))
    assert (await rig.take(late, replaced))[0] == "too_late"
    await rig.take(repeated)
    await rig.evaluated()
    assert rig.select("part") == before
    assert rig.facts("verdict.revised") == []


async def test_rows_window_that_is_compacted_keeps_what_a_replaced_drop_gave(make_rig: MakeRig) -> None:
    rig = await make_rig(window={"by": "rows", "size": 300}).adopt()
    await rig.take(*(rig.put(f"in/{number}", drop_body(200, seed=number)) for number in range(3)))
    await rig.evaluated()
    rig.clock.advance(31 * DAY)
    await retention(rig).tidy()
    assert await rig.take(rig.put("in/0", drop_body(250, seed=9))) == ["too_late"]
    assert [(row["key"], row["rows"]) for row in rig.select("part")] == [("", 400), ("in/2", 200)]


async def test_window_of_an_object_is_never_final(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", drop_body(200)))
    await rig.evaluated()
    rig.clock.advance(100 * DAY)
    await retention(rig).tidy()
    assert await rig.take(rig.put("in/1", drop_body(250))) == ["counted"]
    assert [(row["key"], row["rows"]) for row in rig.select("part")] == [("in/1", 250)]


async def test_compacted_part_that_is_damaged_is_rebuilt_from_its_objects(make_rig: MakeRig) -> None:
    rig = await three_hours(make_rig)
    whole = {row["id"]: row["rows"] for row in rig.select("window")}
    rig.clock.advance(31 * DAY)
    await retention(rig).tidy()
    first = min(whole)
    with rig.database.write() as connection:
        connection.execute(store.part.update().where(store.part.c.window == first).values(sketch=b"damaged"))
        store.mark_dirty(rig.database, connection, "churn", [first], rig.clock.now())
    await rig.judge.sweep()
    assert {row["key"]: row["outcome"] for row in rig.select("object")} == {
        "in/1": "damaged", "in/2": "damaged", "in/3": "counted", "in/4": "counted",
    }  # fmt: skip
    await rig.pending.take()
    await rig.judge.sweep()
    sums: dict[str, int] = {}
    for row in rig.select("part"):
        sums[row["window"]] = sums.get(row["window"], 0) + row["rows"]
    assert sums == whole
    assert {row["outcome"] for row in rig.select("object")} == {"counted"}


async def test_what_is_older_than_the_windows_kept_is_forgotten_but_for_the_look_back(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()  # look-back 4, clear after 2: twelve windows are needed
    drops = [rig.put(f"in/{number:02d}", drop_body(150, seed=number)) for number in range(45)]
    await rig.take(*drops)
    await rig.evaluated()
    rig.clock.advance(401 * DAY)
    await retention(rig).tidy()
    kept = [f"in/{number:02d}" for number in range(33, 45)]
    assert [row["key"] for row in rig.select("part")] == kept
    assert [row["key"] for row in rig.select("object")] == kept
    assert len(rig.select("window")) == 12
    assert await rig.take(drops[-1]) == ["duplicate"]
