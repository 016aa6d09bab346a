"""Broken data is never trained on, also where it drifts: six ways to break a drop, from its rows to the plan that is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftsonde.core.api import Baseline, Parameters, judge
from driftsonde.core.events import Alarm, BaselineRef, DropRef, DropRejected, ProblemKind, WindowRef
from driftsonde.detector.facts import announce

ROWS = 2_000


def rows(count: int = ROWS, *, seed: int = 0, moved: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({
        "x": random.normal(size=count) + moved,
        "y": random.exponential(size=count),
        "z": random.normal(size=count),
        "k": random.choice([*"abc"], count),
    })  # fmt: skip


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return Baseline.build(rows(20_000, seed=99))


def alarm(baseline: Baseline, drop: pd.DataFrame, *, before: int = 8) -> Alarm:
    """Return what the detector says of a drop that follows some ordinary ones."""
    sketches = [baseline.sketch().update(rows(seed=seed + 1)) for seed in range(before)] + [baseline.sketch().update(drop)]
    window, reference = WindowRef(id="w", rows=len(drop)), BaselineRef(version=1, digest=baseline.digest, rows=baseline.rows)
    tables = [sketch.table for sketch in sketches]
    drops = (DropRef(bucket="acme", key="in/9.parquet", etag="e9", rows=len(drop)),)
    verdict, usual = judge(baseline, sketches, Parameters()), [table.rows for table in tables[:-1]]
    return announce("churn-0", 1, verdict, window, baseline, reference, tables, drops, Parameters(), usual=usual)


def nulls(drop: pd.DataFrame) -> pd.DataFrame:
    return drop.assign(y=drop["y"].mask(np.arange(len(drop)) % 2 == 0))


def schema(drop: pd.DataFrame) -> pd.DataFrame:
    return drop.drop(columns="y")


def repeated(drop: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([drop, drop], ignore_index=True)


def constant(drop: pd.DataFrame) -> pd.DataFrame:
    return drop.assign(y=1.25)


def sentinel(drop: pd.DataFrame) -> pd.DataFrame:
    return drop.assign(y=-999.0)


def collapsed(drop: pd.DataFrame) -> pd.DataFrame:
    return drop.head(200)


BROKEN: list[tuple[ProblemKind, Any]] = [
    ("nulls", nulls), ("schema", schema), ("duplicate_rows", repeated), ("constant_column", constant), ("beyond_range", sentinel),
    ("volume", collapsed),
]  # fmt: skip


async def test_drop_that_only_drifts_is_trained_on(retrainer: Any, baseline: Baseline) -> None:
    fact = alarm(baseline, rows(seed=50, moved=1.0))
    assert fact.problems == ()
    await retrainer.hear(fact)
    await retrainer.rounds()
    assert [len(retrainer.jobs.created), retrainer.decisions()[-1].answer] == [1, "retrain"]


@pytest.mark.parametrize(("kind", "spoil"), BROKEN, ids=[kind for kind, _ in BROKEN])
async def test_drop_that_drifts_and_is_broken_starts_no_job_and_says_why(
    retrainer: Any, baseline: Baseline, kind: ProblemKind, spoil: Any
) -> None:
    fact = alarm(baseline, spoil(rows(seed=50, moved=1.0)))
    assert kind in {problem.kind for problem in fact.problems}
    assert "x" in fact.columns or fact.TYPE == "data.untrusted"
    await retrainer.hear(fact)
    await retrainer.rounds()
    assert retrainer.jobs.created == {}
    decision = retrainer.decisions()[-1]
    assert decision.answer == "fix_data"
    words = next(problem.text for problem in fact.problems if problem.kind == kind)
    assert words in decision.text


@pytest.mark.parametrize(("kind", "spoil"), BROKEN, ids=[kind for kind, _ in BROKEN])
def test_only_what_is_broken_is_named(baseline: Baseline, kind: ProblemKind, spoil: Any) -> None:
    assert {problem.kind for problem in alarm(baseline, spoil(rows(seed=50, moved=1.0))).problems} == {kind}


async def test_drop_that_is_cut_off_holds_training_back_for_an_hour(retrainer: Any, baseline: Baseline) -> None:
    await retrainer.hear(
        DropRejected(monitor="churn-0", drop=DropRef(bucket="acme", key="in/8.parquet", etag="e8"), reason="unreadable", message="cut off")
    )
    await retrainer.hear(alarm(baseline, rows(seed=50, moved=1.0)))
    await retrainer.rounds()
    assert retrainer.jobs.created == {}
    assert (retrainer.decisions()[-1].answer, retrainer.decisions()[-1].reason) == ("fix_data", "unreadable")
    retrainer.clock.advance(timedelta(hours=1, minutes=1))
    await retrainer.rounds()
    assert len(retrainer.jobs.created) == 1


async def test_what_the_policy_tolerates_is_trained_on(new_retrainer: Any, baseline: Baseline) -> None:
    retrainer = new_retrainer(1, tolerate=["duplicate_rows"])
    await retrainer.hear(alarm(baseline, repeated(rows(seed=50, moved=1.0))))
    await retrainer.rounds()
    assert len(retrainer.jobs.created) == 1


@pytest.mark.parametrize("seed", range(20))
def test_ordinary_drops_have_no_problem(baseline: Baseline, seed: int) -> None:
    sizes = [1_200, 2_000, 2_500]
    assert alarm(baseline, rows(sizes[seed % 3], seed=200 + seed)).problems == ()


def test_nights_that_are_as_quiet_every_day_are_no_collapse(baseline: Baseline) -> None:
    sketches = [baseline.sketch().update(rows(150 if hour % 4 == 0 else ROWS, seed=hour)).table for hour in range(1, 13)]
    night = baseline.sketch().update(rows(140, seed=77, moved=2.0))
    verdict = judge(baseline, [night], Parameters())
    reference = BaselineRef(version=1, digest=baseline.digest, rows=baseline.rows)
    usual = [table.rows for table in sketches]
    fact = announce("churn-0", 1, verdict, WindowRef(id="w", rows=140), baseline, reference, [night.table], (), Parameters(), usual=usual)
    assert fact.problems == ()
