"""Stored windows under any policy: the verdicts that they had, or would have had."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from driftsonde.core.api import Baseline, judge
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.monitoring.replay import Replayed, bill, episodes, operating_curve, replay, with_distance
from driftsonde.core.sketch.table import TableSketch

CLEAR_AFTER = 2
SHIFTS = (0, 0, 0.25, 0.25, 0.25, 0, 0, 0, 0, 2, 2, 0, 0, 0)


def frame(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"x": random.normal(size=rows) + shift, "c": random.choice(["a", "b"], rows)})


@cache
def history() -> tuple[Baseline, list[tuple[str, TableSketch]]]:
    """A baseline, and small windows of which some moved a little, some a lot, and one could not be read."""
    baseline = Baseline.build(frame(5_000, 99))
    windows = [(f"w{n:02}", baseline.sketch().update(frame(500, n, shift)).table) for n, shift in enumerate(SHIFTS)]
    broken = baseline.empty_sketch()
    broken.unreadable = 1
    return baseline, [*windows[:6], ("broken", broken), *windows[6:]]


def words(parameters: Parameters, *, described: bool = True) -> dict[str, str]:
    baseline, windows = history()
    return {found.window: found.word for found in replay(baseline.columns, windows, parameters, described=described)}


def test_replay_says_what_judging_one_by_one_says() -> None:
    baseline, windows = history()
    parameters, trusted, expected = Parameters(lookback=4), list[TableSketch](), {}
    for name, table in windows:
        sketches = []
        for past in [*trusted[-3:], table]:
            sketch = baseline.sketch()
            sketch.table += past
            sketches.append(sketch)
        expected[name] = judge(baseline, sketches, parameters).word
        if expected[name] != "untrusted":
            trusted.append(table)
    assert words(parameters) == expected
    assert {"ok", "drift", "untrusted"} <= set(expected.values())


def test_verdict_without_description_is_the_same() -> None:
    for parameters in (Parameters(), Parameters(lookback=1), Parameters(alpha=0.2, margin=0)):
        assert words(parameters, described=False) == words(parameters)


def test_higher_threshold_alarms_less_often() -> None:
    baseline, windows = history()
    points = list(operating_curve(baseline.columns, windows, Parameters(), (0.05, 0.1, 0.2, 0.9), clear_after=CLEAR_AFTER))
    alarms = [point.bill.alarms for point in points]
    assert alarms == sorted(alarms, reverse=True)
    assert alarms[0] > alarms[-1] == 3  # the broken window, and psi of those that moved a lot
    assert {point.bill.windows for point in points} == {len(windows)}


def test_curve_at_the_present_threshold_is_the_replay() -> None:
    baseline, windows = history()
    outcomes = replay(baseline.columns, windows, Parameters())[4:]
    (point,) = operating_curve(baseline.columns, windows, Parameters(), (0.10,), clear_after=CLEAR_AFTER, warm=4)
    assert replace(point.bill, trainings=0) == replace(bill(outcomes, episodes(outcomes, clear_after=CLEAR_AFTER)), trainings=0)


def test_episodes_tell_when_they_begin_and_end() -> None:
    words = ["ok", "drift", "warning", "drift", "ok", "untrusted", "ok", "drift"]
    outcomes = [Replayed(str(n), word, (), word == "drift" and n == 1) for n, word in enumerate(words)]  # type: ignore[arg-type]  # words
    found = [(episode.kind, episode.opened, episode.cleared, episode.trainable) for episode in episodes(outcomes, clear_after=2)]
    assert found == [("drift", "1", "6", True), ("untrusted", "5", None, False), ("drift", "7", None, False)]
    cost = bill(outcomes, episodes(outcomes, clear_after=2))
    assert (cost.windows, cost.alarms, cost.messages, cost.trainings) == (8, 4, 3, 1)


def test_distance_is_set_for_columns_with_their_own_thresholds_too() -> None:
    parameters = Parameters(columns={"x": replace(Parameters().thresholds, distance=0.3)})
    assert with_distance(parameters, 0.2).columns["x"].distance == with_distance(parameters, 0.2).thresholds.distance == 0.2
