"""Checks that are off unless asked for: what they find, what they spend, and that they change nothing while they are off."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from driftsonde.core.api import Baseline, Parameters, Verdict, judge
from driftsonde.core.drift.checks import OptionalName

ALL = dict.fromkeys(get_args(OptionalName), 0.1)
PLAIN, ASKED = Parameters(), Parameters(optional=ALL)


def table(rows: int, seed: int, shift: float = 0.0, wide: float = 1.0) -> pa.Table:
    random = np.random.default_rng(seed)
    levels = random.choice(["a", "b", "c"], rows, p=[0.6 - shift / 5, 0.3, 0.1 + shift / 5])
    return pa.table({"x": random.normal(shift, wide, rows), "c": levels})


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return Baseline.build(table(20_000, 0))


def judged(baseline: Baseline, window: pa.Table, parameters: Parameters) -> Verdict:
    return judge(baseline, baseline.sketch().update(window), parameters)


def names(verdict: Verdict, column: str) -> set[str]:
    return {check.name for found in verdict.columns if found.name == column for check in found.checks}


def test_optional_checks_are_off_by_default(baseline: Baseline) -> None:
    assert names(judged(baseline, table(2_000, 1), PLAIN), "x") == {"ks", "psi", "nulls", "outside", "invalid"}


def test_what_is_asked_for_is_run_where_it_applies(baseline: Baseline) -> None:
    verdict = judged(baseline, table(2_000, 1), ASKED)
    assert names(verdict, "x") >= set(ALL)
    assert names(verdict, "c") & set(ALL) == set(ALL) - {"wasserstein"}


def test_optional_checks_leave_the_others_as_they_are(baseline: Baseline) -> None:
    plain, asked = (judged(baseline, table(2_000, 1, 0.3), parameters) for parameters in (PLAIN, ASKED))
    for before, after in zip(plain.columns, asked.columns, strict=True):
        assert before.checks == tuple(check for check in after.checks if check.name not in ALL)


def test_every_optional_check_finds_a_plain_shift(baseline: Baseline) -> None:
    verdict = judged(baseline, table(5_000, 2, 1.0), ASKED)
    assert {check.name for check in verdict.columns[0].checks if check.drift} >= set(ALL)
    assert {check.name for check in verdict.columns[1].checks if check.drift} >= set(ALL) - {"wasserstein"}
    assert (verdict.word, verdict.trainable) == ("drift", True)


@pytest.mark.parametrize("name", get_args(OptionalName))
def test_one_optional_check_alone_can_decide(baseline: Baseline, name: OptionalName) -> None:
    window = table(30_000, 3, 0.0, 1.35)  # wider: beneath the threshold of ks and psi
    assert judged(baseline, window, PLAIN).word == "ok"
    verdict = judged(baseline, window, Parameters(optional={name: 0.02}))
    assert (verdict.columns[0].status, verdict.columns[0].decided_by) == ("drift", name)


def test_optional_checks_are_quiet_when_nothing_changed(baseline: Baseline) -> None:
    tiny = Parameters(optional=dict.fromkeys(get_args(OptionalName), 0.001))
    assert not any(judged(baseline, table(rows, seed), tiny).alarms for seed in range(10, 70) for rows in (150, 2_000))


def test_alarm_is_score_at_or_above_critical(baseline: Baseline) -> None:
    for shift in np.linspace(0, 0.6, 13):
        for column in judged(baseline, table(800, 5, float(shift)), ASKED).columns:
            for check in column.checks:
                assert check.drift == (check.score >= check.critical)
                assert check.critical >= check.threshold
                assert 0 <= check.p_value <= 1


def test_too_few_rows_are_not_compared(baseline: Baseline) -> None:
    assert not names(judged(baseline, table(99, 1), ASKED), "x") & set(ALL)
