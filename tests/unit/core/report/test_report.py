"""What the page says is what the event says, and it says so in one sentence."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.events import (
    Event,
    Fact,
    ModelHeld,
    PlanAccepted,
    PlanRefused,
    PlanWaiting,
    Scores,
    TrainingFailed,
    TrainingStarted,
)
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.report.compose import AFTER, BEFORE, compose
from driftsonde.core.report.gather import Material, gather_episode, gather_window
from driftsonde.core.report.page import event_of, render
from driftsonde.core.sketch.table import TableSketch
from driftsonde.core.verifying import read_alarm, verify
from unit.core.report.support import MADE, NOON, Page, alarm_of, answered, example, frame, material, page_of


class Answers:
    """A detector that answers from material; what it is told to lose it refuses."""

    def __init__(self, given: Material, *, lost: tuple[str, ...] = ()) -> None:
        self._given, self._lost = given, lost

    def monitor(self, name: str) -> dict[str, Any]:
        return self._given.monitor

    def windows(self, monitor: str) -> list[dict[str, Any]]:
        return list(self._given.windows)

    def timeline(self, monitor: str) -> list[Event]:
        return list(self._given.events)

    def baseline(self, monitor: str, version: int) -> FrozenBaseline:
        if "baseline" in self._lost or self._given.baseline is None:
            raise DriftsondeError("404")
        return self._given.baseline

    def lookback(self, link: str, baseline: FrozenBaseline) -> list[TableSketch]:
        if "windows" in self._lost:
            raise DriftsondeError("404")
        tables = list(self._given.tables)
        return [tables[0] + tables[0], *tables[1:]] if "first counts" in self._lost else tables


def gathered(given: Material, *lost: str) -> Material:
    return gather_episode(Answers(given, lost=lost), "churn", 7)


def test_sentence_says_what_moved_since_when_and_what_was_done() -> None:
    report = compose(example())
    assert report.sentence == (
        "unseen moved: outside 0.280, alarms from 0.040, and 4 more columns, since 2026-03-01 12:02 UTC; "
        "a new model was promoted (auc 0.8800 → 0.9100 on 500 held-out rows); it ended on 2026-03-01 12:17 UTC (rebaselined)."
    )
    assert (report.word, report.state) == ("drift", "closed (rebaselined)")


PLAN: dict[str, Any] = {"monitor": "churn", "episode": 7, "plan": "churn-7"}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([], "no training was planned."),
        ([PlanAccepted(**PLAN)], "training is planned."),
        ([PlanWaiting(**PLAN, reason="cooldown", until=NOON)], "training waits until 2026-03-01 12:00 UTC: cooldown."),
        ([PlanAccepted(**PLAN), PlanRefused(**PLAN, reason="fix the data")], "nothing was trained: fix the data."),
        ([TrainingStarted(**PLAN, job="j")], "a challenger is being trained."),
        ([TrainingFailed(**PLAN, job="j", reason="out of memory")], "training failed: out of memory."),
        (
            [ModelHeld(**PLAN, model="m", scores=Scores(metric="auc", direction="max", challenger=0.5, champion=0.6, rows=9))],
            "a challenger was trained and not promoted (auc 0.6000 → 0.5000 on 9 held-out rows).",
        ),
    ],
)
def test_sentence_ends_with_the_last_answer(facts: list[Fact], said: str) -> None:
    given = example()
    after = [Event.of(fact, time=NOON) for fact in facts]
    assert compose(replace(given, events=[given.events[0], *after])).sentence.endswith(f"; {said}")


def test_numbers_in_the_page_are_those_of_the_event() -> None:
    given = example()
    page = Page(page_of(given))
    rows = {tuple(row) for row in page.cells}
    for check in alarm_of(given).checks:
        interval = f"{number(check.interval[0])} to {number(check.interval[1])}"
        figures = [number(value) for value in (check.score, check.critical, check.threshold)]
        counts = [number(check.p_value), f"{check.n:,}", f"{check.baseline_n:,}", str(check.lookback)]
        answer = "alarms" if check.certain else "alarms, within what binning leaves open"
        assert (check.check, *figures, interval, *counts, answer) in rows


def number(value: float) -> str:
    return f"{value:.2g}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def test_columns_come_worst_first_with_all_that_is_drawn() -> None:
    given = example()
    report = compose(given)
    assert [column.name for column in report.full] == list(alarm_of(given).columns)
    columns = {column.name: column for column in report.full}
    for name, column in columns.items():
        assert given.baseline is not None
        assert (column.numbers is None) == (given.baseline.by_name[name].kind == "categorical")
        assert sum(group.before for group in column.psi) == pytest.approx(1)
    assert "still" not in columns
    assert {share.name: share.now for share in columns["holes"].shares}["null"] == pytest.approx(0.3, abs=0.05)
    unseen = columns["unseen"]
    assert unseen.categories is not None
    assert dict(zip(unseen.categories.labels, unseen.categories.now, strict=True))["(unseen)"] == pytest.approx(0.3, abs=0.05)


def test_page_holds_an_event_that_verifies() -> None:
    page = page_of(example())
    event = event_of(page)
    assert json.loads(event) == json.loads(example().events[0].to_json())
    found = verify(read_alarm(event))
    assert found
    assert not any(finding.wrong or finding.recomputed is None for finding in found)
    assert "checks were computed again for this report and agree." in page
    assert 'driftsonde verify report.html --api "$DRIFTSONDE_URL"' in "".join(Page(page).texts)


def test_data_of_the_page_is_json_with_its_sentence() -> None:
    given = example()
    data = json.loads(Page(page_of(given)).by_id["report-data"])
    assert (data["sentence"], data["verdict"]) == (compose(given).sentence, "drift")
    assert data["baseline"]["digest"] == alarm_of(given).baseline.digest
    assert [event["type"].rpartition("v1.")[2] for event in data["events"]][:2] == ["plan.accepted", "training.started"]


def test_what_repeats_the_verdict_is_on_the_page() -> None:
    given, alarm = example(), alarm_of(example())
    text = " ".join(Page(page_of(given)).texts)
    assert alarm.sketches is not None
    for wanted in (
        alarm.baseline.digest,
        alarm.sketches.digest,
        given.events[0].id,
        "s3://acme/in/2.parquet",
        "v2",
        "e2",
        f"{alarm.level:.3g}",
    ):
        assert wanted in text


def test_page_is_accessible_and_loads_nothing() -> None:
    page = page_of(example())
    found = Page(page)
    assert '<html lang="en">' in page
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    levels = [int(tag[1]) for tag, _ in found.shape if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in names for tag, names in found.shape if tag == "th")
    assert sum(tag == "caption" for tag, _ in found.shape) == sum(tag == "table" for tag, _ in found.shape)
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    roots = [ET.fromstring(drawing) for drawing in drawings]
    pictures = [root for root in roots if root.get("role") == "img"]
    assert len(pictures) > 12
    assert all(root[0].tag.endswith("}title") and root[0].text for root in pictures)
    assert all(root.get("aria-hidden") == "true" for root in roots if root not in pictures)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert not {tag for tag, _ in found.shape} & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "a"}
    assert not {name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href", "action", "style")}


def test_counts_that_are_gone_leave_pictures_from_the_event() -> None:
    for lost in ("windows", "first counts"):
        report = compose(gathered(example(), lost))
        assert report.note
        assert all((column.numbers or column.categories) and not column.shares for column in report.full if distance_of(column))
    assert compose(gathered(example())).note == ""


def distance_of(column: Any) -> bool:
    return any(check.name in ("ks", "tv") for check in column.checks)


def test_baseline_that_is_gone_leaves_figures() -> None:
    given = gathered(example(), "baseline")
    report = compose(given)
    assert [column.name for column in report.full] == list(alarm_of(example()).columns)
    assert not any(column.numbers or column.categories for column in report.full)
    assert "the baseline is not stored any more" in page_of(given)


def test_unknown_episode_or_window_is_told_the_known() -> None:
    with pytest.raises(DriftsondeError, match=r"no episode 8; it has: 7"):
        gather_episode(Answers(example()), "churn", 8)
    with pytest.raises(DriftsondeError, match=r"no window 'x'; the newest is s3://acme/in/2.parquet"):
        gather_window(Answers(example()), "churn", "x")


def test_window_is_judged_again_from_its_counts() -> None:
    given = gather_window(Answers(example()), "churn", "s3://acme/in/2.parquet")
    report, episode = compose(given), compose(example())
    assert (report.word, report.state) == ("drift", "part of episode 7")
    assert [column.name for column in report.full] == [*(column.name for column in episode.full), "skewed"]  # which is suspect
    said = {(column.name, check.name): check for column in report.full for check in column.checks if check.alarms}
    assert said == {(column.name, check.name): check for column in episode.full for check in column.checks}
    assert [(column.name, column.status) for column in report.others] == [("still", "ok")]
    assert "as the detector did" in report.recomputed
    assert "a new model was promoted" in report.sentence
    with pytest.raises(DriftsondeError, match="no event"):
        event_of(page_of(given))


def test_quiet_window_says_that_nothing_moved() -> None:
    given = gather_window(Answers(replace(example(), tables=example().tables[:1], events=())), "churn", "s3://acme/in/0.parquet")
    report = compose(given)
    assert report.sentence == "Nothing moved in 600 rows. It began on 2026-03-01 12:00 UTC."
    assert (report.word, report.state, report.full) == ("ok", "in no episode", ())
    assert len(report.others) == 7
    assert "No column" in page_of(given)


def test_command_of_a_hostile_window_is_quoted_or_left_out() -> None:
    for name, shown in (("a'; rm -rf ~", """'a'"'"'; rm -rf ~'"""), ("a\nb", "WINDOW")):
        given = example()
        windows = [{**item, "id": name} if item["id"] == given.window else item for item in given.windows]
        report = compose(replace(given, windows=windows, window=name, opening=None))
        assert report.command == f"driftsonde report --monitor churn --window {shown}"


def test_broken_data_names_what_is_broken() -> None:
    broken = frame(600, seed=3).drop(columns="level").assign(extra=1.0)
    report = compose(material(frame(3_000, seed=99), [broken], after=[]))
    assert (report.word, report.full) == ("untrusted", ())
    assert [(column.name, column.status) for column in report.others] == [("level", "missing column")]
    quality = {fact.name: fact.value for fact in report.quality}
    assert (quality["columns that are missing"], quality["columns that the baseline does not know"]) == ("level", "extra")
    assert report.sentence.endswith("; nothing is trained on such data.")
    assert "column level is missing" in quality["why it cannot be trusted"]


def test_refused_drops_of_the_episode_are_listed() -> None:
    after = answered("not Parquet")
    late = after[-3].model_copy(update={"time": NOON + timedelta(days=1)})
    given = material(frame(3_000, seed=99), [frame(1_000, seed=3, change=0.3)], after=[*after, late])
    refused = ("s3://acme/in/not Parquet", "unreadable: not Parquet")
    assert [(fact.name, fact.value) for fact in compose(given).rejected] == [refused]
    still_open = [event for event in given.events if event.data.TYPE != "drift.resolved"]
    assert [(fact.name, fact.value) for fact in compose(replace(given, events=still_open)).rejected] == [refused] * 2


def test_strip_shows_the_windows_around_and_marks_the_episode() -> None:
    given = example()
    extra = [{**given.windows[0], "id": f"w{place}", "verdict": "ok"} for place in range(100)]
    windows = [*extra[:60], *given.windows, *extra[60:]]
    report = compose(replace(given, windows=windows))
    assert len(report.marks) == BEFORE + 1 + AFTER
    assert report.more_marks == (62 - BEFORE, 40 - AFTER)
    subject = next(place for place, mark in enumerate(report.marks) if mark.subject)
    inside = [place for place, mark in enumerate(report.marks) if mark.episodes]
    assert inside == list(range(subject, subject + 4))  # to the third quiet window, which closes it
    assert compose(replace(given, windows=[])).marks == ()


def test_report_on_500_drifted_columns_stays_below_a_megabyte() -> None:
    random = np.random.default_rng(1)
    names = [f"a_column_with_quite_a_long_name_of_sixty_four_characters____{number:03}" for number in range(500)]
    before = pd.DataFrame(random.normal(size=(3_000, 500)), columns=names)
    given = material(before, [before.head(1_000) + 3], key="in/" + "k" * 900 + "{}", bins=1_024, after=answered("w" * 900))
    page = page_of(given)
    report = compose(given)
    assert (len(report.full), len(report.others)) == (20, 480)
    assert len(page.encode()) < 1_000_000


def test_the_same_material_gives_the_same_page() -> None:
    assert page_of(example()) == page_of(example())
    assert render(compose(example()), made=MADE) == page_of(example())
