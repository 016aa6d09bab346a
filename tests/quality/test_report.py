"""Figures become pages: rates, goals, and the reasons for those that were missed."""

from __future__ import annotations

import pytest

from . import report
from .report import Goal, Section, Table


@pytest.mark.parametrize(("count", "total", "shown"), [(0, 3_000, "0 (≤ 1.0)"), (0, 0, "–"), (5, 1_000, "5.0"), (300, 400, "750")])
def test_nothing_seen_is_shown_with_its_upper_limit(count: int, total: int, shown: str) -> None:
    assert report.rate(count, total) == shown


def test_missed_goal_says_by_how_much() -> None:
    assert Goal("a.b", "", 10, 12.5).outcome == "**missed by 2.5**"
    assert Goal("a.b", "", 0.98, 0.99, most=False).outcome == "met"


def test_missed_goal_without_a_reason_is_reported() -> None:
    section = Section([Goal("no.such", "", 1, 2), Goal("quiet.flags", "", 1, 0)])
    assert report.unexplained({"quiet": section}) == ["no.such"]


def test_page_holds_tables_and_only_reasons_that_apply() -> None:
    kept = Section([Goal("quiet.flags", "few flags", 1, 0)], [Table("Rates", ["rule", "n"], [["ours", "0"]])])
    missed = Section([Goal("quiet.flags", "few flags", 1, 2)])
    assert "| ours | 0 |" in report.page({"quiet": kept})
    assert "Why false flags" not in report.page({"quiet": kept})
    assert "Why false flags" in report.page({"quiet": missed})
    assert "<!--" not in report.page({"quiet": kept, "season": Section(skipped="no data")})


def test_section_survives_its_file() -> None:
    section = Section([Goal("a.b", "text", 1, 2)], [Table("t", ["a"], [["1"]])], {"x": [1.0]})
    assert Section.from_json(section.to_json()) == section
