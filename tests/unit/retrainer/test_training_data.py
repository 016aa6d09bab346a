"""What a model is trained on: which drops, pinned so that it can be repeated, with labels that came later."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftsonde.core.config import Config, parse_config
from driftsonde.retrainer import store
from driftsonde.retrainer.steps import prepare as step
from driftsonde.retrainer.steps.encoding import Encoding

from .conftest import DROPS, Retrainer, make_config


def configured(data: dict[str, Any], **monitor: Any) -> Config:
    raw = make_config().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    raw["recipes"]["xgb"]["data"] = data
    raw["monitors"][0] |= monitor
    return parse_config(raw, source="test")


@pytest.fixture
def choosing(database: Any, facts: Any) -> Any:
    async def choose(data: dict[str, Any], *, before: int = 3, after: int = 2, **monitor: Any) -> dict[str, Any]:
        """Return the manifest of an episode, with drops from before and after a week that has passed."""
        retrainer = Retrainer(database, configured(data, **monitor))
        objects = retrainer.objects
        objects._clock, objects._versioned = retrainer.clock, True
        for name in ("base/1.parquet", "base/2.parquet", "labels/1.csv", "fixed/a.csv"):
            objects.put("acme", name, b"x")
        for number in range(before):
            objects.put("acme", f"in-0/old-{number}.parquet", b"x")
        retrainer.clock.advance(timedelta(days=7))
        for number in range(after):
            objects.put("acme", f"in-0/new-{number}.parquet", b"x")
        objects.put("acme", "in-0/folder/", b"")
        await retrainer.hear(facts.drift())
        await retrainer.rounds()
        name = "out/churn-0/episode-1/manifest-1/job.json"
        return json.loads(await objects.read("acme", name, 0, 1_000_000))  # type: ignore[no-any-return]

    return choose


def keys(drops: list[dict[str, Any]]) -> list[str]:
    return [drop["key"] for drop in drops]


async def test_drops_of_the_episode_are_the_default(choosing: Any) -> None:
    manifest = await choosing({})
    assert keys(manifest["drops"]) == [drop.key for drop in DROPS]


async def test_recent_drops_are_listed_and_pinned(choosing: Any) -> None:
    manifest = await choosing({"from": "recent", "last": "1d"})
    assert keys(manifest["drops"]) == ["in-0/new-0.parquet", "in-0/new-1.parquet"]
    assert all(drop["version"] and drop["etag"] for drop in manifest["drops"])


async def test_of_too_many_drops_the_latest_are_taken(choosing: Any) -> None:
    manifest = await choosing({"from": "recent", "last": "30d", "most": 3})
    assert keys(manifest["drops"]) == ["in-0/old-2.parquet", "in-0/new-0.parquet", "in-0/new-1.parquet"]


async def test_fixed_address_takes_what_lies_there(choosing: Any) -> None:
    assert keys((await choosing({"from": "fixed", "uri": "s3://acme/fixed/*.csv"}))["drops"]) == ["fixed/a.csv"]


async def test_reference_is_mixed_in_where_asked_for(choosing: Any) -> None:
    assert keys((await choosing({"reference": True}))["reference"]) == ["base/1.parquet", "base/2.parquet"]


async def test_labels_are_pinned_too(choosing: Any) -> None:
    manifest = await choosing({"labels": {"uri": "s3://acme/labels/", "key": "customer"}})
    assert (manifest["labels"]["key"], keys(manifest["labels"]["objects"])) == ("customer", ["labels/1.csv"])


async def test_since_the_last_training_begins_with_it(database: Any, facts: Any) -> None:
    retrainer = Retrainer(database, configured({"from": "since_training"}))
    objects = retrainer.objects
    objects._clock = retrainer.clock
    objects.put("acme", "in-0/before.parquet", b"x")
    await retrainer.hear(facts.drift(1))
    await retrainer.rounds()
    await retrainer.whole_plan()
    first = json.loads(await objects.read("acme", "out/churn-0/episode-1/manifest-1/job.json", 0, 1_000_000))
    assert keys(first["drops"]) == [drop.key for drop in DROPS]
    retrainer.clock.advance(facts.later)
    objects.put("acme", "in-0/after.parquet", b"x")
    await retrainer.hear(facts.drift(2))
    await retrainer.rounds()
    second = json.loads(await objects.read("acme", "out/churn-0/episode-2/manifest-1/job.json", 0, 1_000_000))
    assert keys(second["drops"]) == ["in-0/after.parquet"]


async def test_what_was_written_stays_when_the_step_is_repeated(choosing: Any, database: Any) -> None:
    manifest = await choosing({"from": "recent", "last": "1d"})
    retrainer = Retrainer(database, configured({"from": "recent", "last": "1d"}))
    retrainer.objects.put("acme", "out/churn-0/episode-1/manifest-1/job.json", json.dumps(manifest).encode())
    retrainer.objects.put("acme", "in-0/newer.parquet", b"x")
    await database.run(lambda connection: connection.execute(store.job.update().values(state="wanted")))
    await retrainer.rounds()
    again = json.loads(await retrainer.objects.read("acme", "out/churn-0/episode-1/manifest-1/job.json", 0, 1_000_000))
    assert again == manifest


async def test_no_drop_at_all_fails_the_plan_and_says_so(database: Any, facts: Any) -> None:
    retrainer = Retrainer(database, configured({"from": "fixed", "uri": "s3://acme/nothing/"}))
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "failed"}
    assert "no drop" in retrainer.said()[-1].model_dump()["reason"]


class FakeDrops:
    """The prepare step's drops, from tables."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self._tables = tables

    def batches(self, drop: dict[str, Any], *, form: str | None = None) -> Any:
        return iter(self._tables[drop["key"]].to_batches())


def ref(key: str) -> dict[str, Any]:
    return {"bucket": "acme", "key": key, "etag": key}


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return tmp_path / "processing" / "output"


def test_rows_get_the_label_that_came_for_their_key_and_others_wait(out: Path) -> None:
    rows = pa.table({"id": [f"c{n}" for n in range(1_000)], "x": np.arange(1_000.0)})
    early = pa.table({"id": [f"c{n}" for n in range(600)], "churned": [0.0] * 600})
    late = pa.table({"id": [f"c{n}" for n in range(500, 700)], "churned": [1.0] * 200})
    manifest = {
        "drops": [ref("a")], "score": [ref("a")], "reference": [], "label": "churned", "keep": ["id"], "ignore": [], "only": [],
        "categorical": [], "encoding": None, "labels": {"key": "id", "format": "auto", "objects": [ref("l1"), ref("l2")]},
    }  # fmt: skip
    drops: Any = FakeDrops({"a": rows, "l1": early, "l2": late})
    labels = step._late_labels(manifest, drops)
    encoding = step._encoding(manifest, drops)
    assert encoding.features == ["x"]
    counts = step._write_splits(manifest, drops, encoding, labels)
    assert (counts["unlabelled"], counts["train"] + counts["validation"] + counts["holdout"], counts["score"]) == (300, 700, 1_000)
    written = [row for part in ("train", "validation", "holdout") for row in csv.reader((out / part / f"{part}.csv").open())]
    assert {float(x): float(label) for label, x in written} == {float(n): float(n >= 500) for n in range(700)}
    scored = list(csv.reader((out / "score" / "score.csv").open()))
    assert scored[3] == ["c3", "3"]


def test_labels_without_their_column_are_named(out: Path) -> None:
    manifest = {"label": "churned", "labels": {"key": "id", "format": "auto", "objects": [ref("l")]}}
    drops: Any = FakeDrops({"l": pa.table({"id": ["a"], "other": [1]})})
    with pytest.raises(ValueError, match="s3://acme/l lacks"):
        step._late_labels(manifest, drops)


def test_reference_is_trained_on_and_not_scored(out: Path) -> None:
    tables = {"a": pa.table({"x": np.arange(100.0), "y": [1.0] * 100}), "r": pa.table({"x": np.arange(50.0), "y": [0.0] * 50})}
    manifest = {
        "drops": [ref("a")],
        "reference": [ref("r")],
        "score": [ref("a")],
        "label": "y",
        "ignore": [],
        "only": [],
        "categorical": [],
        "encoding": None,
    }
    drops: Any = FakeDrops(tables)
    counts = step._write_splits(manifest, drops, Encoding(["x"]), None)
    assert (counts["train"] + counts["validation"] + counts["holdout"], counts["score"]) == (150, 100)
