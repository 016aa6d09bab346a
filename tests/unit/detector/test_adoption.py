"""Baselines: built once, adopted for windows without parts, inherited thresholds, and what adoption ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from driftsonde.core.monitoring.baseline import FrozenBaseline

from .conftest import MakeRig
from .support import BUCKET, BY_TIME, DAY, HOUR, NOON, Rig, baseline_body, drop_body, parquet, rows, timed

DRIFT = drop_body(200, 1.0, 1)
NEXT = baseline_body(7, 1.0)
"""A baseline to which DRIFT is normal."""


def frozen(rig: Rig, version: int) -> FrozenBaseline:
    return FrozenBaseline.from_bytes(next(row["data"] for row in rig.select("baseline") if row["version"] == version))


async def test_configured_baseline_is_built_from_its_objects(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.objects.put(BUCKET, "base/1.parquet", parquet(rows(500, seed=1)))
    rig.objects.put(BUCKET, "base/2.parquet", parquet(rows(500, seed=2)))
    await rig.database.run(rig.builder._request_configured)
    assert await rig.builder.build_one()
    assert frozen(rig, 1).rows == 1000
    assert [fact["baseline"]["version"] for fact in rig.facts("baseline.adopted")] == [1]


async def test_configured_baseline_is_asked_for_once(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.adopt()
    await rig.replica().adopt()
    assert [row["version"] for row in rig.select("baseline")] == [1]
    changed = make_rig(baseline={"uri": f"s3://{BUCKET}/base/", "bins": 64})
    changed.objects = rig.objects
    await changed.database.run(changed.builder._request_configured)
    assert [row["state"] for row in rig.select("baseline")] == ["adopted", "building"]


async def test_baseline_without_objects_waits_and_says_why(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.database.run(rig.builder._request_configured)
    assert not await rig.builder.build_one()
    (row,) = rig.select("baseline")
    assert "no object" in row["error"]
    assert not await rig.builder.build_one(), "not at once again"
    rig.objects.put(BUCKET, "base/1", baseline_body())
    rig.clock.advance(timedelta(minutes=1))
    assert await rig.builder.build_one()
    assert rig.select("baseline")[0]["error"] is None


async def test_promoted_model_brings_its_baseline(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.promote(NEXT)
    assert [(row["version"], row["state"], row["model"]) for row in rig.select("baseline")] == [(1, "adopted", None), (2, "adopted", "m2")]
    assert [fact["baseline"].get("model") for fact in rig.facts("baseline.adopted")] == [None, "m2"]
    assert [row["type"] for row in rig.select("timeline")] == ["model.promoted"]


async def test_monitor_may_keep_its_baseline_whatever_is_promoted(make_rig: MakeRig) -> None:
    rig = await make_rig(retrain={"recipe": "any", "rebaseline": False}).adopt()
    await rig.promote(NEXT)
    assert [(row["version"], row["state"]) for row in rig.select("baseline")] == [(1, "adopted")]
    assert [row["type"] for row in rig.select("timeline")] == ["model.promoted"]


async def test_promotion_heard_twice_is_built_once(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    info = rig.objects.put(BUCKET, "train/1", NEXT)
    assert await rig.announce("m2", "train/1", info.etag) == "stored"
    rig.clock.advance(timedelta(days=90))
    await rig.database.run(rig.outbox.forget_old)
    assert await rig.announce("m2", "train/1", info.etag) == "duplicate"
    assert [row["version"] for row in rig.select("baseline")] == [1, 2]


async def test_adoption_closes_open_episodes_as_rebaselined(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", DRIFT))
    await rig.evaluated()
    await rig.promote(NEXT)
    assert rig.episodes() == [(1, "drift", "1", "rebaselined")]
    assert [fact["cause"] for fact in rig.facts("drift.resolved")] == ["rebaselined"]
    await rig.take(rig.put("in/2", DRIFT))
    await rig.evaluated()
    assert rig.verdicts() == {"1": "drift", "2": "ok"}
    assert len(rig.episodes()) == 1


async def test_numbers_of_episodes_run_on_over_versions(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", DRIFT))
    await rig.evaluated()
    await rig.promote(NEXT)
    await rig.take(rig.put("in/2", drop_body(200, 3.0)))
    await rig.evaluated()
    assert [(number, opened, cause) for number, _, opened, cause in rig.episodes()] == [(1, "1", "rebaselined"), (2, "2", None)]
    assert [fact["baseline"]["version"] for fact in rig.facts("drift.detected")] == [1, 2]


async def test_older_windows_keep_their_baseline(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", drop_body()))
    await rig.evaluated()
    await rig.promote(NEXT)
    await rig.take(rig.put("in/1", DRIFT), rig.put("in/2", DRIFT))
    await rig.evaluated()
    assert [(row["id"][-1], row["baseline"], row["verdict"]) for row in rig.select("window")] == [("1", 1, "drift"), ("2", 2, "ok")]
    assert rig.episodes() == [], "a baseline that is no longer in force opens nothing"


async def test_emptied_window_comes_back_under_the_new_baseline(make_rig: MakeRig) -> None:
    rig = await make_rig(on_remove="retract").adopt()
    await rig.take(rig.put("in/1", DRIFT))
    await rig.take(rig.remove("in/1"))
    await rig.evaluated()
    await rig.promote(NEXT)
    await rig.take(rig.put("in/1", DRIFT))
    await rig.evaluated()
    assert [(row["baseline"], row["verdict"]) for row in rig.select("window")] == [(2, "ok")]


async def test_drop_over_old_and_new_windows_is_counted_over_both(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    start = NOON - DAY
    times = [start + place * HOUR / 200 for place in range(400)]
    await rig.take(rig.put("in/1", timed(times[:200])))
    await rig.promote(NEXT)
    assert await rig.take(rig.put("in/2", timed(times, 1.0))) == ["counted"]
    assert [(row["window"][11:13], row["key"], row["baseline"]) for row in rig.select("part")] == [
        ("12", "in/1", 1), ("12", "in/2", 1), ("13", "in/2", 2),
    ]  # fmt: skip
    rig.clock.advance(2 * HOUR)
    await rig.evaluated()
    assert {row["baseline"]: row["verdict"] for row in rig.select("window")} == {1: "drift", 2: "ok"}


async def test_open_rows_window_keeps_its_baseline_until_full(make_rig: MakeRig) -> None:
    rig = await make_rig(window={"by": "rows", "size": 500}).adopt()
    await rig.take(rig.put("in/1", drop_body(400)))
    await rig.promote(NEXT)
    await rig.take(rig.put("in/2", drop_body(400)), rig.put("in/3", DRIFT))
    assert [(row["window"][-1], row["key"], row["baseline"]) for row in rig.select("part")] == [
        ("1", "in/1", 1), ("1", "in/2", 1), ("2", "in/3", 2),
    ]  # fmt: skip


async def test_adoption_while_a_drop_is_read_counts_it_anew(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    drop = rig.put("in/1", DRIFT)
    reading, adopted = asyncio.Event(), asyncio.Event()
    read = rig.objects.read

    class Slow(type(rig.objects)):  # type: ignore[misc]  # the class of an attribute
        async def read(self, *args: object, **kwargs: object) -> bytes:
            reading.set()
            await adopted.wait()
            return await read(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they came

    slow = Slow(rig.clock)
    slow.put(BUCKET, "in/1", DRIFT)
    rig.ingest._objects = slow
    taking = asyncio.create_task(rig.take(drop))
    await reading.wait()
    await rig.promote(NEXT)
    adopted.set()
    assert await taking == ["counted"]
    assert [row["baseline"] for row in rig.select("part")] == [2]


async def test_backtested_thresholds_are_inherited(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt(baseline_body(raised=0.7))
    await rig.promote(NEXT)
    assert dict(frozen(rig, 2).by_name["x"].thresholds) == {"distance": 0.7, "psi": 7.0}
    await rig.take(rig.put("in/1", drop_body(200, 2.0)))
    await rig.evaluated()
    assert rig.verdicts() == {"1": "ok"}


async def test_baseline_built_late_does_not_replace_a_later_one(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    info = rig.objects.put(BUCKET, "train/3", NEXT)
    await rig.announce("m2", "train/2", info.etag)
    await rig.announce("m3", "train/3", info.etag)
    assert [await rig.builder.build_one(), await rig.builder.build_one()] == [False, True]
    await rig.take(rig.put("in/1", drop_body()))
    await rig.evaluated()
    rig.clock.advance(timedelta(minutes=5))
    rig.objects.put(BUCKET, "train/2", NEXT)  # it is there after all
    assert not await rig.builder.build_one()
    assert [row["state"] for row in rig.select("baseline")] == ["adopted", "superseded", "adopted"]
    assert [cause for *_, cause in rig.episodes()] == [None]
    assert [fact["baseline"]["version"] for fact in rig.facts("baseline.adopted")] == [1, 3]


async def test_two_builders_adopt_a_baseline_once(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    other = rig.replica()
    info = rig.objects.put(BUCKET, "train/2", NEXT)
    await rig.announce("m2", "train/2", info.etag)
    row = await rig.database.run(rig.builder._claim)
    assert row is not None
    assert await other.database.run(other.builder._claim) is None, "the claim holds"
    rig.clock.advance(timedelta(minutes=3))  # the first one stalled beyond its claim
    assert await other.builder.build_one()
    assert not await rig.builder._build(row)
    assert [fact["baseline"]["version"] for fact in rig.facts("baseline.adopted")] == [1, 2]


async def test_unknown_monitor_of_a_promotion_is_left_alone(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.announce("m2", "train/1", "etag", monitor="gone")
    assert not await rig.builder.build_one()
