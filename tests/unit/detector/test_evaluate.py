"""Dirty windows become verdicts, verdicts become episodes, and nothing is judged that need not be."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import Connection, event

from driftsonde.core.config import Monitor
from driftsonde.core.monitoring.episode import Judged, find_spans
from driftsonde.detector import store
from driftsonde.detector.evaluate import Evaluated

from .conftest import MakeRig
from .support import BUCKET, GARBAGE, Rig, drop_body


async def judged(rig: Rig, *bodies: bytes, first: int = 0) -> None:
    """Take one drop after the other, and judge after each."""
    for number, body in enumerate(bodies):
        await rig.take(rig.put(f"in/{first + number:02}", body))
        await rig.evaluated()


OK, DRIFT = drop_body(200, 0.0), drop_body(200, 1.0, 1)


async def test_episode_opens_once_and_recovers(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await judged(rig, OK, DRIFT, DRIFT, OK)
    assert rig.episodes() == [(1, "drift", "01", None)]
    await judged(rig, OK, first=4)
    assert rig.episodes() == [(1, "drift", "01", "recovered")]
    assert [fact["window"]["id"] for fact in rig.facts("drift.detected")] == [f"s3://{BUCKET}/in/01"]
    assert [(fact["episode"], fact["sequence"], fact["cause"]) for fact in rig.facts("drift.resolved")] == [(1, 2, "recovered")]


async def test_drift_event_names_drops_baseline_and_checks(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await judged(rig, OK, DRIFT)
    (fact,) = rig.facts("drift.detected")
    assert [drop["key"] for drop in fact["drops"]] == ["in/00", "in/01"]
    assert fact["baseline"]["version"] == 1
    assert fact["columns"] == ["x"]
    assert {check["check"] for check in fact["checks"]} >= {"ks"}
    assert all(check["score"] >= check["critical"] for check in fact["checks"])
    assert fact["trainable"]


async def test_empty_drop_event_names_no_empty_drops(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await judged(rig, b"", DRIFT)
    (fact,) = rig.facts("drift.detected")
    assert [drop["key"] for drop in fact["drops"]] == ["in/01"]


async def test_small_drops_are_judged_together(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    small = drop_body(60, 2.0, 3)
    await judged(rig, small, small)
    assert rig.verdicts() == {"00": "insufficient", "01": "drift"}


async def test_judging_again_without_change_writes_nothing(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await judged(rig, OK, DRIFT)
    before = rig.select("window"), rig.select("outbox")
    await rig.database.run(mark, rig, ["in/00", "in/01"])
    await rig.evaluated()
    assert (rig.select("window"), rig.select("outbox")) == before


async def test_window_that_is_not_marked_is_not_read(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await judged(rig, *(drop_body(150, 0.0, seed) for seed in range(12)))
    read: list[tuple[str, int]] = []
    event.listen(rig.database.engine, "before_cursor_execute", lambda *call: read.append((call[2], len(call[3]))))
    await rig.take(rig.put("in/99", OK))
    done = await rig.evaluated()
    assert done.verdicts == ("ok",)
    parts = [parameters for statement, parameters in read if "part.sketch" in statement and "SELECT" in statement]
    assert parts == [1 + rig.monitor.policy.lookback], "one statement, of the monitor and the windows of the look-back"


def mark(connection: object, rig: Rig, keys: list[str]) -> None:
    store.mark_dirty(rig.database, connection, "churn", [f"s3://{BUCKET}/{key}" for key in keys], rig.clock.now())  # type: ignore[arg-type]  # a connection


async def test_part_that_comes_while_judging_is_not_forgotten(make_rig: MakeRig) -> None:
    rig = await make_rig(versioned=True).adopt()
    old, new = rig.put("in/1", OK), rig.put("in/1", DRIFT)
    await rig.take(old)
    marks = await rig.database.look(lambda connection: rig.evaluate._marks(connection, "churn"))
    await rig.take(new)  # commits after the marks were seen
    await rig.database.run(lambda connection: rig.evaluate._unmark(connection, "churn", marks, set(marks)))
    assert len(rig.select("dirty")) == 1


async def test_untrusted_windows_do_not_shorten_the_lookback(make_rig: MakeRig) -> None:
    rig = await make_rig(versioned=True).adopt()
    small = drop_body(60, 2.0, 3)
    await judged(rig, b"", *[GARBAGE] * 6, small)
    assert rig.verdicts()["07"] == "insufficient"
    await rig.take(rig.put("in/00", small))  # six untrusted windows lie between, and no trusted one
    await rig.evaluated()
    assert rig.verdicts()["07"] == "drift"


@pytest.mark.parametrize("seed", range(2))
async def test_long_history_is_judged_as_if_all_at_once(rig: Rig, seed: int) -> None:
    await rig.adopt()
    choose = random.Random(seed)
    bodies = [OK, OK, OK, drop_body(60, 2.0, 3), drop_body(60, 0.0, 4), DRIFT, GARBAGE, b""]
    keys = [f"in/{number:02}" for number in range(40)]
    for key in keys:
        await rig.take(rig.put(key, choose.choice(bodies)))
        await rig.evaluated()
    for _ in range(15):
        await rig.take(rig.put(choose.choice(keys), choose.choice(bodies)))
        await rig.evaluated()
    bit_by_bit = rig.verdicts(), [row["digest"] for row in rig.select("window")]
    is_open = {(kind, opened) for _, kind, opened, cause in rig.episodes() if cause is None}
    spans = find_spans([Judged(window, word or "") for window, word in bit_by_bit[0].items()], clear_after=2)
    assert len(is_open) == sum(span.cleared is None for span in spans)
    assert all(any(span.cleared is None and span.kind == kind and opened in span.windows for span in spans) for kind, opened in is_open)
    await rig.database.run(mark, rig, keys)
    await rig.evaluated()
    assert (rig.verdicts(), [row["digest"] for row in rig.select("window")]) == bit_by_bit


async def test_monitor_that_fails_does_not_stop_others(make_rig: MakeRig) -> None:
    rig = await make_rig(monitors=2).adopt()
    drop = rig.put("in/1", DRIFT)
    for monitor in rig.config.monitors:
        await rig.ingest.drop(monitor, drop)

    def failing(connection: Connection, monitor: Monitor) -> Evaluated:
        if monitor.name == "churn":
            raise ValueError("a bug")
        return rig.evaluate(connection, monitor)

    rig.judge._evaluate = failing  # type: ignore[assignment]  # any callable does
    await rig.judge.sweep()
    assert [(row["monitor"], row["verdict"]) for row in rig.select("window")] == [("churn", None), ("fraud", "drift")]
    assert rig.counted("judge_failures_total") == 1
    assert rig.counted("episodes_total", kind="drift") == 1


async def test_latency_is_observed_once_for_each_window(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", OK))
    await rig.judge.sweep()
    await rig.take(rig.put("in/1", DRIFT))
    await rig.judge.sweep()
    assert rig.counted("event_to_verdict_seconds_count") == 1
    assert rig.counted("verdicts_total", verdict="ok") == 1
    assert rig.counted("verdicts_total", verdict="drift") == 1


async def test_part_that_cannot_be_read_has_its_object_read_again(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/a", drop_body()), rig.put("in/b", drop_body(seed=2)))
    await rig.judge.sweep()
    before = rig.select("part")
    with rig.database.write() as connection:
        connection.execute(store.part.update().where(store.part.c.key == "in/a").values(sketch=b"damaged"))
        store.mark_dirty(rig.database, connection, "churn", [row["id"] for row in rig.select("window")], rig.clock.now())
    await rig.judge.sweep()
    assert rig.counted("damaged_parts_total") == 1
    assert [row["outcome"] for row in rig.select("object") if row["key"] == "in/a"] == ["damaged"]
    assert await rig.pending.take() == 1
    await rig.judge.sweep()
    assert sorted(rig.select("part"), key=str) == sorted(before, key=str)
    assert {row["verdict"] for row in rig.select("window")} == {"ok"}


async def test_damaged_part_of_an_object_that_is_gone_leaves_the_others_judged(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/a", drop_body()), rig.put("in/b", drop_body(seed=2)))
    await rig.judge.sweep()
    rig.remove("in/a")
    with rig.database.write() as connection:
        connection.execute(store.part.update().where(store.part.c.key == "in/a").values(sketch=b"damaged"))
        store.mark_dirty(rig.database, connection, "churn", [row["id"] for row in rig.select("window")], rig.clock.now())
    await rig.judge.sweep()
    await rig.pending.take()
    await rig.judge.sweep()
    assert [row["outcome"] for row in sorted(rig.select("object"), key=lambda row: row["key"])] == ["gone", "counted"]
    assert [row["verdict"] for row in rig.select("window") if row["id"].endswith("in/b")] == ["ok"]
    assert rig.select("dirty") == []


@pytest.mark.parametrize(("seen", "said"), [(1, 0), (2, 1), (4, 1)])
async def test_drift_that_goes_on_is_confirmed_once(make_rig: MakeRig, seen: int, said: int) -> None:
    rig = await make_rig(retrain={"recipe": "any", "confirm": {"windows": 2, "of": 3}}).adopt()
    for number in range(seen):
        await rig.take(rig.put(f"in/{number}", DRIFT))
        await rig.evaluated()
    assert [fact["episode"] for fact in rig.facts("drift.confirmed")] == [1] * said


async def test_drift_with_quiet_windows_between_is_confirmed_only_within_the_latest(make_rig: MakeRig) -> None:
    rig = await make_rig(retrain={"recipe": "any", "confirm": {"windows": 2, "of": 2}}, policy={"lookback": 1, "clear_after": 3}).adopt()
    for number, body in enumerate((DRIFT, drop_body(), DRIFT)):
        await rig.take(rig.put(f"in/{number}", body))
        await rig.evaluated()
    assert rig.facts("drift.confirmed") == []
    await rig.take(rig.put("in/9", DRIFT))
    await rig.evaluated()
    assert len(rig.facts("drift.confirmed")) == 1


async def test_monitor_that_asks_for_no_confirmation_hears_none(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    for number in range(3):
        await rig.take(rig.put(f"in/{number}", DRIFT))
        await rig.evaluated()
    assert rig.facts("drift.confirmed") == []
