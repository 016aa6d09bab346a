"""The benchmark's own machinery; no time is asserted here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .measure import interleaved
from .report import prose
from .tables import Goal, Table, figure, from_json, size, to_json

PEERS = Path(__file__).parent / "peers"
LOCKS = sorted(PEERS.glob("*/requirements.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_locks_of_peers_are_hashed_and_name_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_each_lock_has_its_source_and_a_runner() -> None:
    assert len(LOCKS) == 7
    assert all(lock.with_name(name).exists() for lock in LOCKS for name in ("requirements.in", "run.py"))


def test_rounds_call_each_work_in_turn() -> None:
    called: list[str] = []

    interleaved({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=3, enough=0)
    assert called == ["a", "b"] * 4


@pytest.mark.parametrize(
    ("goal", "outcome"),
    [
        (Goal("faster", 10.0, 12.0), "met"),
        (Goal("faster", 10.0, 7.5), "missed by 25%"),
        (Goal("smaller", 10.0, 12.0, at_least=False), "missed by 20%"),
        (Goal("smaller", 10.0, 10.0, at_least=False), "met"),
        (Goal("skipped", 10.0, None), "not measured"),
    ],
)
def test_goal_says_by_how_much_it_is_missed(goal: Goal, outcome: str) -> None:
    assert goal.cells()[-1] == outcome


def test_tables_survive_the_trip_through_json() -> None:
    table = Table("t", ("a", "b"), (("1", "2"),), "note", (Goal("g", 1.0, None, stretch=2.0),))
    assert from_json(json.loads(json.dumps(to_json([table])))) == [table]


def test_numbers_are_written_with_three_digits() -> None:
    assert [figure(value) for value in (0.04123, 1.0, 18.64, 99.97, 12_345.6)] == ["0.0412", "1.00", "18.6", "100", "12,346"]
    assert [size(count) for count in (45, 1_000, 3_000_000)] == ["45", "1k", "3M"]


def test_notes_are_split_by_the_section_they_belong_to() -> None:
    assert prose("preamble\n\n## one\n\nfirst\n\n## two\n\n## three\nthird\n") == {"one": ["first"], "three": ["third"]}
