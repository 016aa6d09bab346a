"""core.drift agrees with the conformance file: rtol 1e-6 for statistics, 1e-4 for p-values above 1e-12.

Not computed by core.drift, and therefore not compared (see `NOT_COMPUTED`): the classical p-values of Kolmogorov and Smirnov, and
the index with shares floored at 1e-4 (`psi`; ours has a pseudo-count instead). The exact `ks_statistic` of the raw values is not
computed either, but it is checked to lie in the bracket; the Wasserstein distance is taken from bins, and checked to be near.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driftsonde.core.api import Baseline, judge
from driftsonde.core.drift.ks import ks_critical, ks_distance, ks_margin, ks_p_value
from driftsonde.core.drift.optional import chi2_test, g_test, hellinger_distance, js_distance, wasserstein
from driftsonde.core.drift.psi import numeric_groups, psi, psi_critical
from driftsonde.core.drift.shares import share_limits, share_p_value
from driftsonde.core.drift.tv import tv_bias, tv_critical, tv_distance, tv_p_value
from driftsonde.core.sketch.numeric import fit_numeric

LEVEL, MARGIN = 1e-5, 0.5
NOT_COMPUTED = {"wasserstein", "wasserstein_over_sd", "ks_pvalue_asymp", "ks_pvalue_exact", "psi"}
_FILE: dict[str, Any] = json.loads((Path(__file__).parent / "conformance.json").read_text())
_CASES: dict[str, dict[str, Any]] = _FILE["cases"]
_VECTORS: dict[str, list[dict[str, Any]]] = _FILE["vectors"]

Values = NDArray[Any]
Computed = Callable[[Values, Values], Iterator[tuple[str, Any]]]


def _common(name: str, baseline: Values, window: Values) -> Iterator[tuple[str, Any]]:
    """Decile bins or categories: the size of the case, its counts, and the index and the variation over them."""
    case = _CASES[name]
    yield "n", len(window)
    yield "m", len(baseline)
    if "edges" in case:
        edges = np.unique(np.quantile(baseline, np.arange(1, 10) / 10))
        yield "edges", edges
        b, w = (np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) for values in (baseline, window))
    else:
        levels = np.unique(np.append(baseline, window))
        yield "categories", levels.tolist()
        b, w = (np.array([np.sum(values == level) for level in levels]) for values in (baseline, window))
    yield "counts_baseline", b
    yield "counts_window", w
    yield "js_distance_base2", js_distance(b, w)
    yield "js_divergence_nats", js_distance(b, w) ** 2 * np.log(2)
    yield "hellinger", hellinger_distance(b, w)
    chi2, g = chi2_test(b, w), g_test(b, w)
    if "chi2" in case:  # the file has none for a single bin
        yield "chi2", chi2.statistic
        yield "chi2_dof", chi2.freedom
        yield "chi2_pvalue", chi2.p_value
        yield "g_statistic", g.statistic
        yield "g_pvalue", g.p_value
    else:
        assert (chi2.freedom, chi2.p_value, g.p_value) == (0, 1.0, 1.0)
    yield "tv", tv_distance(b, w)
    if "edges" not in case:
        yield "tv_critical_a1e5", tv_critical(b, w, threshold=0.10, margin=MARGIN, level=LEVEL)
        yield "tv_interval_pvalue_null_0_05", tv_p_value(tv_distance(b, w) - tv_bias(b, w), w.sum(), b.sum(), null=0.05)
        yield "tv_bias_bound", tv_bias(b, w)
    value = psi(b, w)
    yield "psi_corrected", value.corrected
    yield "psi_standard_error", value.error
    yield "psi_critical_a1e5", psi_critical(value.error, threshold=0.20, margin=MARGIN, level=LEVEL)


def _frozen(baseline: Values, window: Values) -> Iterator[tuple[str, Any]]:
    """The 64 bins of a baseline, and what is measured on them."""
    distinct = np.unique(baseline)
    bins = fit_numeric(
        baseline, minimum=baseline.min(), maximum=baseline.max(), distinct=distinct if len(distinct) <= 64 else None, bins=64
    )
    b, w = bins.count(baseline).counts, bins.count(window).counts
    bracket = ks_distance(b, w, bins.single_valued())
    n, m = len(window), len(baseline)
    yield "binned64_distance", bracket.lower
    yield "binned64_upper", bracket.upper
    yield "outside_rows", w[0] + w[-1]
    yield "ks_critical_a1e5", ks_critical(n, m, threshold=0.10, margin=MARGIN, level=LEVEL)
    yield "ks_interval_pvalue_null_0_05", ks_p_value(bracket.lower, n, m, null=0.05)
    grouping = numeric_groups(b, 10)
    groups = grouping.sums(b), grouping.sums(w)
    yield "grouped_psi_counts_baseline", groups[0]
    yield "grouped_psi_counts_window", groups[1]
    yield "grouped_psi_corrected", psi(*groups).corrected
    yield "grouped_psi_standard_error", psi(*groups).error


def _agree(key: str, ours: Any, theirs: Any) -> bool:
    if key == "categories":
        return bool(ours == theirs)
    if "pvalue" in key:
        return bool(ours == pytest.approx(theirs, rel=1e-4) if theirs > 1e-12 else 0 <= ours <= 1.01e-12)
    return bool(np.shape(ours) == np.shape(theirs) and np.allclose(ours, theirs, rtol=1e-6, atol=1e-12))


@pytest.mark.parametrize("name", _CASES)
def test_every_value_of_a_case_agrees(name: str, inputs: ModuleType) -> None:
    baseline, window = inputs.samples()[name]
    case = _CASES[name]
    computed = dict(_common(name, baseline, window))
    if "edges" in case:
        computed |= _frozen(baseline, window)
        assert computed["binned64_distance"] - 1e-12 <= case["ks_statistic"] <= computed["binned64_upper"] + 1e-12
    assert {key: (ours, case[key]) for key, ours in computed.items() if not _agree(key, ours, case[key])} == {}
    assert set(case) - set(computed) - NOT_COMPUTED - {"ks_statistic"} == set(), "keys that nobody checks"


# Not those of heavy tails or of values beyond the baseline's range, which bins tell little of.
@pytest.mark.parametrize("name", ["same_normal", "mean_plus_half_sd", "sd_x1.5", "poisson3_vs_3.3", "rounded_ties", "beta_vs_uniform"])
def test_wasserstein_distance_from_bins_is_near_that_of_the_values(name: str, inputs: ModuleType) -> None:
    baseline, window = inputs.samples()[name]
    bins = fit_numeric(baseline, minimum=baseline.min(), maximum=baseline.max(), distinct=None, bins=256)
    ours = wasserstein(bins.edges, bins.count(baseline).counts, bins.count(window).counts)
    assert ours == pytest.approx(_CASES[name]["wasserstein_over_sd"], rel=0.05, abs=0.005)


def test_every_case_of_the_file_has_its_inputs(inputs: ModuleType) -> None:
    assert list(inputs.samples()) == list(_CASES)
    assert list(inputs.frames()[1]) == [vector["case"] for vector in _VECTORS["verdict"]]


def test_file_has_no_part_that_nobody_checks() -> None:
    assert set(_FILE) == {"scipy", "numpy", "cases", "vectors"}
    assert {name: set().union(*vectors) for name, vectors in _VECTORS.items()} == {
        "share_pvalue": {"x", "n", "rx", "m", "null", "two_sided", "p"},
        "dkw": {"n", "m", "a", "c"},
        "verdict": {"case", "drift", "status", "scale"},
    }


@pytest.mark.parametrize("vector", _VECTORS["share_pvalue"], ids=lambda vector: f"{vector['x']}-of-{vector['n']}")
def test_share_p_values_agree_with_the_file(vector: dict[str, Any]) -> None:
    ours = share_p_value(
        vector["x"], vector["n"], share_limits(vector["rx"], vector["m"]), null=vector["null"], two_sided=vector["two_sided"]
    )
    assert ours == pytest.approx(vector["p"], rel=1e-4)


@pytest.mark.parametrize("vector", _VECTORS["dkw"], ids=lambda vector: f"n={vector['n']}")
def test_distance_margins_agree_with_the_file(vector: dict[str, Any]) -> None:
    assert ks_margin(vector["n"], vector["m"], vector["a"]) == pytest.approx(vector["c"], rel=1e-6)


@pytest.mark.parametrize("bins", [64, 256])
def test_verdicts_statuses_and_scales_agree_with_the_file(bins: int, inputs: ModuleType) -> None:
    import pyarrow as pa

    columns, cases = inputs.frames()
    baseline = Baseline.build(pa.table(columns), bins=bins)
    for vector in _VECTORS["verdict"]:
        windows = [baseline.sketch().update(pa.table(window)) for window in cases[vector["case"]]]
        verdict = judge(baseline, windows)
        assert verdict.alarms == vector["drift"], vector["case"]
        assert {column.name: column.status for column in verdict.columns} == vector["status"], vector["case"]
        assert {column.name: column.lookback for column in verdict.columns} == vector["scale"], vector["case"]
