"""What fuzzing once found is taken or refused now; and the fuzzer itself finds what is planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from .judge import judged
from .mutate import mutated
from .targets import NAMES, Target, targets

FOUND = Path(__file__).parent / "found"
TARGETS = targets()


@pytest.mark.parametrize("path", sorted(path for path in FOUND.glob("*-*")), ids=lambda path: path.name)
def test_input_that_once_failed_is_taken_or_refused(path: Path) -> None:
    assert judged(TARGETS[path.name.partition("-")[0]], path.read_bytes()) in ("accepted", "refused")


@pytest.mark.parametrize("name", NAMES)
def test_some_damaged_inputs_are_taken_or_refused(name: str) -> None:
    target = TARGETS[name]
    assert {judged(target, good) for good in target.corpus} <= {"accepted", "refused"}
    assert judged(target, target.corpus[0]) == "accepted"
    for seed in range(30):
        assert judged(target, mutated(target.corpus, seed)) in ("accepted", "refused")


def test_other_errors_are_failures() -> None:
    assert "ZeroDivisionError" in judged(Target([b"a"], lambda data: 1 // (len(data) - 1)), b"a")


def test_same_seed_gives_the_same_input() -> None:
    corpus = TARGETS["events"].corpus
    assert [mutated(corpus, seed) for seed in range(50)] == [mutated(corpus, seed) for seed in range(50)]
    assert len({mutated(corpus, seed) for seed in range(50)}) > 40
