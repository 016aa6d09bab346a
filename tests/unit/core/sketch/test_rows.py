"""The sample of distinct rows: what it estimates, and that no order or split of the rows shows in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftsonde.core.api import Baseline
from driftsonde.core.sketch.rows import MOST, RowSample, least_exponent, merge_samples


def hashes(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 64, rows, dtype=np.uint64)


@given(st.lists(st.integers(0, 3_000), max_size=2_000), st.lists(st.integers(0, 2_000), max_size=4))
def test_any_split_gives_the_same_sample(rows: list[int], cuts: list[int]) -> None:
    given_rows = hashes(3_001)[np.array(rows, dtype=np.intp)]
    parts = np.split(given_rows, sorted(cut for cut in cuts if cut <= len(rows)))
    assert merge_samples(RowSample.of(part) for part in parts) == RowSample.of(given_rows)
    assert merge_samples(RowSample.of(part) for part in reversed(parts)) == RowSample.of(given_rows)


@pytest.mark.parametrize("rows", [1, MOST, MOST + 1, 10_000, 300_000])
def test_sample_stays_small_and_holds_enough(rows: int) -> None:
    sample = RowSample.of(hashes(rows))
    assert min(rows, MOST // 4) <= len(sample.hashes) <= MOST
    assert sample.is_possible()


@pytest.mark.parametrize(("times", "share"), [(1, 0.0), (2, 1.0), (5, 1.0)])
def test_rows_that_are_all_there_again_are_seen(times: int, share: float) -> None:
    assert RowSample.of(np.repeat(hashes(20_000), times)).repeated == share


@pytest.mark.parametrize("seed", range(20))
def test_one_common_row_says_nothing_whatever_its_hash(seed: int) -> None:
    """A third of the customers may be alike; whether that one row is in the sample is luck."""
    for rows in (150, 300, 10_000):
        found = hashes(rows, seed)
        found[: rows // 3] = found[0]
        assert RowSample.of(found).repeated < 0.02


def test_few_distinct_rows_say_nothing() -> None:
    assert RowSample.of(np.repeat(hashes(5), 1_000)).repeated == 0.0


def test_one_hash_of_many_rows_does_not_fill_the_sample() -> None:
    sample = RowSample.of(np.zeros(1_000_000, dtype=np.uint64))
    assert (len(sample.hashes), sample.counts.tolist()) == (1, [1_000_000])


@given(st.integers(1, 5_000), st.integers(0, 2**32 - 1))
def test_rows_that_are_left_out_early_would_not_be_in_the_sample(rows: int, seed: int) -> None:
    whole = hashes(rows, seed)
    early = least_exponent((whole >> np.uint64(32)).astype(np.uint32), 0)
    assert early <= RowSample.of(whole).exponent


def test_equal_rows_have_equal_hashes_whatever_their_type_and_order() -> None:
    frozen = Baseline.build(pa.table({"x": np.arange(1_000.0) ** 2 % 977, "n": np.arange(1_000) % 89, "c": ["a", "b"] * 500}))
    rows = {"x": [1.5, 2.0, None, 4.0], "n": [1, 2, 3, None], "c": ["a", None, "b", "zzz"]}
    plain = frozen.sketch().update(pa.table(rows)).table.sample
    other = pa.table(
        {
            "c": pa.array(["a", None, "b", "zzz"], pa.large_string()).dictionary_encode(),
            "n": pa.array([1.0, 2.0, 3.0, float("nan")]),
            "x": pa.array([1.5, 2.0, None, 4.0], pa.float32()),
        }
    )
    assert frozen.sketch().update(other).table.sample == plain
    assert frozen.sketch().update(pa.table(rows).take([3, 1, 0, 2])).table.sample == plain
    assert plain.counts.tolist() == [1, 1, 1, 1]


def test_rows_that_differ_in_one_column_are_not_repeats() -> None:
    columns = {name: np.zeros(2_000) for name in "abcdef"}
    frozen = Baseline.build(pa.table({**columns, "g": np.arange(2_000.0) % 313}))
    rows = pa.table({**columns, "f": np.arange(2_000.0), "g": np.arange(2_000.0) % 2})
    assert frozen.sketch().update(rows).table.sample.repeated == 0.0


def test_baseline_knows_how_often_its_rows_repeat() -> None:
    once = np.random.default_rng(1).normal(size=(4_000, 3))
    assert Baseline.build(once, names=["a", "b", "c"]).repeated == 0.0
    assert Baseline.build(np.vstack([once, once, once]), names=["a", "b", "c"]).repeated == 1.0
