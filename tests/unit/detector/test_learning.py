"""Baselines that are learned: which drops they are made of, what becomes of those, and of the others."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from itertools import permutations
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from driftsonde.core.config import parse_config
from driftsonde.core.drops import Drop
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.detector.builder import CLAIM
from driftsonde.detector.readapi import routes

from .conftest import MakeRig
from .support import BUCKET, GARBAGE, NOON, Rig, baseline_body, drop_body, parquet, rows

LEARN = {"learn": 3}
DRIFT = drop_body(200, 1.0, 1)


class Killed(BaseException):
    """The process ends here."""


async def ask(rig: Rig) -> Rig:
    """Start a detector as far as its baselines go."""
    await rig.database.run(rig.builder._request_configured)
    return rig


async def pending(rig: Rig, *names: str, body: bytes | None = None) -> list[Drop]:
    """Note some drops before there is a baseline."""
    drops = [rig.put(f"in/{name}", body or drop_body(seed=number)) for number, name in enumerate(names)]
    assert await rig.take(*drops) == ["pending"] * len(drops)
    return drops


async def built(rig: Rig) -> bool:
    """Build until it is built, or waits."""
    for _ in range(5):
        if await rig.builder.build_one():
            return True
    return False


def choice(rig: Rig) -> list[str]:
    """Return the keys that were chosen, in order."""
    return [drop["key"] for drop in json.loads(rig.select("baseline")[-1]["source"]).get("drops", [])]


def states(rig: Rig) -> list[str]:
    return [row["state"] for row in rig.select("baseline")]


async def api(rig: Rig) -> dict[str, Any]:
    transport = httpx.ASGITransport(app=Starlette(routes=routes(rig.database, rig.config)))
    async with httpx.AsyncClient(transport=transport, base_url="http://detector") as client:
        (monitor,) = (await client.get("/api/monitors")).json()
    return dict(monitor)


async def test_first_drops_are_the_baseline_and_later_ones_are_judged(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3", "4")
    assert await built(rig)
    assert rig.objects_known() == {"in/1": "learned", "in/2": "learned", "in/3": "learned", "in/4": "pending"}
    assert rig.counted("drops_total", outcome="learned") == 3
    assert await rig.pending.take() == 1
    assert await rig.take(rig.put("in/5", DRIFT)) == ["counted"]
    await rig.evaluated()
    assert rig.verdicts() == {"4": "ok", "5": "drift"}
    (fact,) = rig.facts("baseline.adopted")
    assert (fact["baseline"]["version"], fact["baseline"]["rows"]) == (1, 600)


async def test_too_few_drops_are_waited_for_and_counted(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    assert (await api(rig))["building"] == {"version": 1, "error": None, "learning": {"known": 0, "of": 3}}
    await pending(rig, "1", "2")
    assert not await built(rig)
    assert (await api(rig))["building"]["learning"] == {"known": 2, "of": 3}
    assert rig.select("baseline")[0]["claimed_until"] is None
    await pending(rig, "3")
    assert await built(rig)
    assert (await api(rig))["building"] is None


async def test_monitor_that_waits_for_drops_keeps_no_other_from_its_baseline(make_rig: MakeRig) -> None:
    rig = make_rig(baseline=LEARN)
    uri = {"name": "fraud", "drops": f"s3://{BUCKET}/in/", "baseline": f"s3://{BUCKET}/base/"}
    rig.builder._config = parse_config({"monitors": [rig.monitor.model_dump(), uri]}, source="test")
    rig.objects.put(BUCKET, "base/1", baseline_body())
    await ask(rig)
    assert await rig.builder.build_one()
    assert {row["monitor"]: row["state"] for row in rig.select("baseline")} == {"churn": "building", "fraud": "adopted"}


async def test_order_of_arrival_does_not_change_what_is_learned(make_rig: MakeRig) -> None:
    keys = ["in/a", "in/B", "in/é", "in/c"]  # two at the same time: by key, as bytes; a database's language would put a before B
    times = [NOON, NOON, NOON - timedelta(hours=1), NOON + timedelta(hours=1)]
    found = set()
    for number, order in enumerate(list(permutations(range(4)))[::5]):
        rig = make_rig(baseline=LEARN)
        with rig.database.write() as connection:
            for name in ("object", "baseline"):
                connection.exec_driver_sql(f"delete from {name}")
        drops = [rig.put(key, drop_body(seed=place), at=times[place]) for place, key in enumerate(keys)]
        assert await rig.take(*(drops[place] for place in order)) == ["pending"] * 4, number
        await ask(rig)
        assert await built(rig)
        found.add((tuple(choice(rig)), rig.select("baseline")[0]["digest"]))
    assert {chosen for chosen, _ in found} == {("in/é", "in/B", "in/a")}
    assert len(found) == 1


async def test_build_that_died_is_taken_over_with_the_same_drops(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3")
    assert await rig.database.run(rig.builder._claim) is not None
    assert await rig.take(rig.put("in/0", DRIFT, at=NOON - timedelta(days=1))) == ["pending"], "earlier than all of them"
    other = rig.replica()
    assert not await other.builder.build_one(), "the claim holds"
    rig.clock.advance(CLAIM * 1.1)
    assert await other.builder.build_one()
    assert choice(rig) == ["in/1", "in/2", "in/3"]
    await other.pending.take()
    await other.evaluated()
    assert rig.verdicts() == {"0": "drift"}


@pytest.mark.parametrize("steps", [1, 2])
async def test_crash_after_any_step_ends_in_the_same_baseline(make_rig: MakeRig, steps: int) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3", "4")
    run, left = rig.database.run, steps

    async def sabotaged(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        result = await run(*args, **kwargs)
        left -= 1
        if not left:
            raise Killed
        return result

    rig.database.run = sabotaged  # type: ignore[method-assign]  # the step happens, then the process ends
    with pytest.raises(Killed):
        await rig.builder.build_one()
    rig.clock.advance(CLAIM * 1.1)
    other = rig.replica()
    assert await other.builder.build_one() is (steps == 1)
    assert sorted(rig.objects_known().values()) == ["learned"] * 3 + ["pending"]
    assert len(rig.facts("baseline.adopted")) == 1


async def test_drop_that_kills_who_learns_from_it_is_passed_over(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "bomb", "3", "4")
    read, killed = rig.objects.read, 0

    async def deadly(bucket: str, key: str, *span: int, **pin: Any) -> bytes:
        nonlocal killed
        if "bomb" in key:
            killed += 1
            raise Killed
        return await read(bucket, key, *span, **pin)

    monkeypatch.setattr(rig.objects, "read", deadly)
    for _ in range(2):  # after the first death nobody knows which of them it was
        other = rig.replica()
        end = other.builder._attempts.end
        # What a dead process would do afterwards is left out.
        monkeypatch.setattr(other.builder._attempts, "end", lambda connection, drop, end=end: "bomb" in drop.key or end(connection, drop))
        with pytest.raises(Killed):
            await other.builder.build_one()
        rig.clock.advance(CLAIM * 1.1)
    assert [(row["key"], row["count"]) for row in rig.select("attempt")] == [("in/bomb", 1)]
    assert await built(rig)
    assert (choice(rig), killed) == (["in/1", "in/3", "in/4"], 2)
    assert rig.objects_known()["in/bomb"] == "pending"


async def test_drop_that_cannot_be_read_is_replaced_by_the_next(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1")
    await pending(rig, "2", body=GARBAGE)
    await pending(rig, "3", "4", "5", "6")
    rig.objects.delete(BUCKET, "in/3")
    assert await rig.take(rig.put("in/7", b"")) == ["pending"]
    assert await built(rig)
    assert choice(rig) == ["in/1", "in/4", "in/5"]
    await rig.pending.take()
    assert rig.objects_known() == {
        "in/1": "learned", "in/2": "unreadable", "in/3": "gone", "in/4": "learned", "in/5": "learned", "in/6": "counted", "in/7": "empty",
    }  # fmt: skip
    assert [reason for _, reason in rig.queue.dead_letters] == ["unreadable"]


async def test_drop_with_too_many_bad_rows_is_not_learned_from(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline={"learn": 1}))
    lines = [f'{{"x": {number % 7}.5}}' for number in range(300)]
    await pending(rig, "1.jsonl", body="\n".join(["no json"] * 30 + lines).encode())
    await pending(rig, "2.jsonl", body="\n".join(["no json", *lines]).encode())
    assert await built(rig)
    assert choice(rig) == ["in/2.jsonl"]


async def test_replacement_that_is_not_there_yet_is_waited_for(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2")
    (bad,) = await pending(rig, "3", body=GARBAGE)
    assert not await built(rig)
    assert (await api(rig))["building"]["learning"] == {"known": 2, "of": 3}
    assert await rig.take(bad) == ["duplicate"]
    await pending(rig, "4")
    assert await built(rig)
    assert choice(rig) == ["in/1", "in/2", "in/4"]


async def test_bad_drop_that_is_written_again_is_learned_from(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2")
    await pending(rig, "3", body=GARBAGE)
    assert not await built(rig)
    await pending(rig, "3")
    assert await built(rig)
    assert choice(rig) == ["in/1", "in/2", "in/3"]


async def test_frozen_baseline_among_the_drops_is_no_baseline(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline={"learn": 1}))
    await pending(rig, "1", body=baseline_body())
    await pending(rig, "2", body=drop_body(300))
    assert await built(rig)
    assert choice(rig) == ["in/2"]
    assert FrozenBaseline.from_bytes(rig.select("baseline")[0]["data"]).rows == 300


async def test_duplicate_of_a_learned_drop_changes_nothing(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    drops = await pending(rig, "1", "2", "3")
    assert await rig.take(*drops) == ["duplicate"] * 3
    assert await built(rig)
    assert await rig.take(*drops) == ["duplicate"] * 3
    assert await rig.pending.take() == 0
    assert rig.select("part") == []
    assert set(rig.objects_known().values()) == {"learned"}


async def test_overwritten_learned_drop_is_a_new_one(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    drops = await pending(rig, "1", "2", "3")
    assert await built(rig)
    assert await rig.take(rig.put("in/2", DRIFT)) == ["counted"]
    assert await rig.take(drops[1]) == ["stale"]
    await rig.evaluated()
    assert rig.verdicts() == {"2": "drift"}


@pytest.mark.parametrize("versioned", [False, True])
async def test_drop_overwritten_while_it_is_learned_from_is_judged(make_rig: MakeRig, versioned: bool) -> None:
    rig = await ask(make_rig(baseline=LEARN, versioned=versioned))
    await pending(rig, "1", "2", "3")
    row = await rig.database.run(rig.builder._claim)
    assert row is not None
    assert await rig.take(rig.put("in/1", DRIFT)) == ["pending"]
    if versioned:  # the version that was chosen is still there
        assert await rig.builder._build(row)
        await rig.pending.take()
        await rig.evaluated()
        assert rig.verdicts() == {"1": "drift"}
        assert rig.counted("drops_total", outcome="learned") == 2
    else:
        assert not await rig.builder._build(row)
        assert await built(rig)
        assert set(rig.objects_known().values()) == {"learned"}, "its new version is still the first"


async def test_two_detectors_learn_one_baseline(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    other = await ask(rig.replica())
    await pending(rig, "1", "2", "3")
    row = await rig.database.run(rig.builder._claim)
    assert row is not None
    rig.clock.advance(timedelta(minutes=3))  # it stalled beyond its claim
    results = await asyncio.gather(other.builder.build_one(), rig.builder._build(row))
    assert sorted(results) == [False, True]
    assert states(rig) == ["adopted"]
    assert rig.counted("drops_total", outcome="learned") + other.counted("drops_total", outcome="learned") == 3


async def test_build_of_an_earlier_choice_is_not_adopted(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3")
    row = await rig.database.run(rig.builder._claim)
    assert row is not None
    rig.clock.advance(timedelta(minutes=3))
    rig.objects.delete(BUCKET, "in/1")
    assert not await built(rig.replica())
    rig.objects.put(BUCKET, "in/1", drop_body(seed=0))  # the stalled one has read it before
    assert not await rig.builder._build(row)
    assert set(rig.objects_known().values()) == {"pending"}
    await pending(rig, "4")
    assert await built(rig)
    assert rig.objects_known() == {"in/1": "pending", "in/2": "learned", "in/3": "learned", "in/4": "learned"}


async def test_drop_overwritten_after_it_was_read_is_judged(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3")
    run = rig.database.run

    async def late(work: Any, *args: Any, **kwargs: Any) -> Any:
        if work == rig.builder._adopt:
            monkeypatch.undo()
            assert await rig.take(rig.put("in/1", DRIFT)) == ["pending"]
        return await run(work, *args, **kwargs)

    monkeypatch.setattr(rig.database, "run", late)
    assert await rig.builder.build_one()
    await rig.pending.take()
    await rig.evaluated()
    assert rig.verdicts() == {"1": "drift"}
    assert rig.counted("drops_total", outcome="learned") == 2


async def test_other_number_after_adoption_changes_nothing_and_an_address_does(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3")
    assert await built(rig)
    await ask(rig)
    await ask(make_rig(baseline={"learn": 7}))
    assert states(rig) == ["adopted"]
    named = make_rig()
    named.objects.put(BUCKET, "base/1", baseline_body())
    await ask(named)
    assert await built(named)
    assert states(rig) == ["adopted", "adopted"]
    await ask(rig)
    assert states(rig) == ["adopted", "adopted"], "nothing is pending that could be learned from"


async def test_other_number_before_adoption_is_what_counts(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3")
    other = make_rig(baseline={"learn": 2})
    other.objects = other.builder._objects = rig.objects
    await ask(other)
    assert await built(other)
    assert states(rig) == ["superseded", "adopted"]
    assert choice(rig) == ["in/1", "in/2"]


async def test_promoted_model_ends_the_learning_and_drops_are_judged(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2")
    await rig.promote(baseline_body(7))
    assert states(rig) == ["superseded", "adopted"]
    assert await rig.pending.take() == 2
    await rig.evaluated()
    assert rig.verdicts() == {"1": "ok", "2": "ok"}


async def test_learned_baseline_is_backtested_on_its_own_windows(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline={"learn": 2, "backtest": "30", "bins": 32}))
    for name, shift in (("1", 0.0), ("2", 1.0)):  # the level moves when nothing is wrong
        await pending(rig, name, body=parquet(rows(3000, shift, 3)))
    assert await built(rig)
    frozen = FrozenBaseline.from_bytes(rig.select("baseline")[0]["data"])
    assert frozen.windows == 30
    assert frozen.by_name["x"].thresholds["distance"] > 0.1


async def test_too_few_rows_are_said_to_be_the_reason(make_rig: MakeRig) -> None:
    rig = await ask(make_rig(baseline=LEARN))
    await pending(rig, "1", "2", "3", body=drop_body(20))
    assert not await built(rig)
    building = (await api(rig))["building"]
    assert "at least 200 rows" in building["error"]
    assert building["learning"] == {"known": 3, "of": 3}
