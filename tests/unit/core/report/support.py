"""A report's material without a detector: frames judged and announced as the detector does it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd

from driftsonde.core.api import Baseline, Parameters, judge
from driftsonde.core.config import Policy
from driftsonde.core.events import (
    Alarm,
    BaselineAdopted,
    BaselineRef,
    BatchFinished,
    DeliveryFinished,
    DriftDetected,
    DriftResolved,
    DropRef,
    DropRejected,
    Event,
    ModelPromoted,
    PlanAccepted,
    Scores,
    TrainingStarted,
    TrainingSucceeded,
    WindowRef,
)
from driftsonde.core.report.compose import compose
from driftsonde.core.report.gather import Material
from driftsonde.core.report.page import render
from driftsonde.detector.facts import announce, window_detail

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MADE = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def frame(rows: int, *, seed: int = 0, change: float = 0.0) -> pd.DataFrame:
    """Return rows with columns of every kind."""
    random = np.random.default_rng(seed)
    return pd.DataFrame({
        "smooth": random.normal(size=rows) + 3 * change,
        "few": random.integers(0, 6, rows) + 3 * (random.random(rows) < change),
        "skewed": np.exp(2 * random.normal(size=rows) + 2 * change),
        "holes": np.where(random.random(rows) < change, np.nan, random.normal(size=rows)),
        "level": random.choice([*"abc"], rows, p=[0.6 - change, 0.3 + change, 0.1]),
        "unseen": np.where(random.random(rows) < change, "new", random.choice([*"xy"], rows)),
        "still": random.normal(size=rows),
    })  # fmt: skip


def material(before: Any, windows: Sequence[Any], *, key: str = "in/{}.parquet", after: Sequence[Event] = (), bins: int = 64) -> Material:
    """Return what a detector would answer of episode 7, which the last window opens."""
    baseline = Baseline.build(before, bins=bins)
    sketches = [baseline.sketch().update(window) for window in windows]
    ids = [f"s3://acme/{key.format(place)}" for place in range(len(windows))]
    entries = []
    for place, name in enumerate(ids):
        verdict = judge(baseline, sketches[: place + 1])
        entries.append({
            "id": name, "baseline": 1, "verdict": verdict.word, "revision": 1, "rows": verdict.rows, "start": None, "end": None,
            "first_drop": (NOON + place * MINUTE).isoformat(), "judged_at": None, **window_detail(verdict),
        })  # fmt: skip
    drops = [DropRef(bucket="acme", key=key.format(place), version=f"v{place}", etag=f"e{place}", rows=9) for place in range(len(windows))]
    fact = announce(
        "churn", 7, verdict, WindowRef(id=ids[-1], rows=verdict.rows), baseline, BaselineRef(version=1, digest=baseline.digest, rows=baseline.rows),
        [sketch.table for sketch in sketches], drops, Parameters(),
    )  # fmt: skip
    opening = Event.of(fact, time=NOON + len(windows) * MINUTE)
    episode = {"number": 7, "kind": "drift" if isinstance(fact, DriftDetected) else "untrusted", "opened": ids[-1], "open": True}
    known = {"name": "churn", "policy": Policy().model_dump(mode="json"), "episodes": [episode]}
    return Material(known, entries, [opening, *after], ids[-1], 1, opening, baseline, [sketch.table for sketch in sketches])


def example(change: float = 0.3) -> Material:
    """Return an episode that was answered with a new model."""
    return material(frame(3_000, seed=99), [frame(600, seed=1), frame(600, seed=2), frame(1_000, seed=3, change=change)], after=answered())


def answered(text: str = "because") -> list[Event]:
    """Return what follows an alarm, with a text wherever one comes from outside."""
    plan: dict[str, Any] = {"monitor": "churn", "episode": 7, "plan": "churn-7", "reason": text}
    scores = Scores(metric="auc", direction="max", challenger=0.91, champion=0.88, rows=500)
    reference = BaselineRef(version=2, digest="ab" * 32, rows=4_000, model=f"m {text}")
    facts = [
        PlanAccepted(**plan, sequence=2),
        TrainingStarted(**plan, sequence=3, job=f"job {text}"),
        TrainingSucceeded(**plan, sequence=4, job=f"job {text}", metrics={f"auc {text}": 0.91}),
        ModelPromoted(**plan, sequence=5, model=f"m {text}", package="p", model_data="s3://acme/m", scores=scores, drops=()),
        BatchFinished(**plan, sequence=6, job=f"job {text}", state="succeeded", output=f"s3://acme/{text}"),
        BaselineAdopted(monitor="churn", baseline=reference),
        DropRejected(monitor="churn", drop=DropRef(bucket="acme", key=f"in/{text}", etag="e"), reason="unreadable", message=text),
        DriftResolved(monitor="churn", episode=7, sequence=2, kind="drift", cause="rebaselined"),
        DeliveryFinished(monitor="churn", episode=7, channel="ml-oncall", event_id="f" * 32, outcome="refused", detail=text),
    ]  # fmt: skip
    return [Event.of(fact, time=NOON + (10 + place) * MINUTE) for place, fact in enumerate(facts)]


def page_of(given: Material) -> str:
    """Return the page."""
    return render(compose(given), made=MADE)


def alarm_of(given: Material) -> Alarm:
    """Return what the opening event says."""
    assert given.alarm is not None
    return given.alarm


class Page(HTMLParser):
    """A page taken apart.

    Attributes:
        shape: each start tag with the names of its attributes, in order.
        texts: the texts between tags.
        by_id: the text of elements that have an id.
        cells: rows of tables, as texts.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.by_id: dict[str, str] = {}
        self.cells: list[list[str]] = []
        self._id: str | None = None
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(name, value or "") for name, value in attrs]
        self._id = dict(attrs).get("id")
        if tag == "tr":
            self.cells.append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._id = None
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._id:
            self.by_id[self._id] = self.by_id.get(self._id, "") + data
        if self._cell:
            self.cells[-1][-1] += data
