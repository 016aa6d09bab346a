"""A plan with a search, from drift to the new champion: the retrainer's own code against the real control plane and S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.config import parse_config
from driftsonde.core.events import BaselineRef, DriftDetected, DropRef, Event, ModelPromoted, TrainingSucceeded, WindowRef, parse_event
from driftsonde.core.lifecycle import SystemClock
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.core.testing.endpoints import FakeEndpoints
from driftsonde.core.testing.jobs import FakeTrainingJobs
from driftsonde.retrainer import store
from driftsonde.retrainer.handlers import Handlers
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans
from driftsonde.retrainer.sagemaker import SageMaker
from driftsonde.retrainer.watcher import Watcher

from .support import ROLE, XGBOOST, Plane, program, until
from .test_jobs import rows

# Steps of a user: what driftsonde's own would do takes longer than the search.
PREPARE = """
import json, os, pathlib
out = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "processing" / "output"
(out / "train" / "a.csv").write_text({train!r})
(out / "validation" / "a.csv").write_text({validation!r})
(out / "meta" / "summary.json").write_text(json.dumps({{"train": 200, "validation": 100, "holdout": 300}}))
(out / "meta" / "encoding.json").write_text("{{}}")
for part in ("holdout", "score"):
    (out / part / "a.csv").write_text("1")
"""
EVALUATE = """
import json, os, pathlib
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "processing"
assert (base / "input" / "challenger" / "model.tar.gz").is_file()
(base / "output" / "metrics" / "metrics.json").write_text(json.dumps({"challenger": 0.9, "champion": None, "rows": 300}))
"""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """The retrainer's store."""
    database = Database(f"sqlite:///{tmp_path / 'retrainer.sqlite'}")
    database.create_all(store.metadata)
    return database


def config_of(bucket: str) -> Any:
    """Return a configuration whose recipe searches with three training jobs."""
    tables = {part: rows(count, label=True, seed=seed).decode() for part, count, seed in (("train", 200, 1), ("validation", 100, 2))}
    steps = {"prepare": ["python", program(PREPARE.format(**tables))], "evaluate": ["python", program(EVALUATE)]}
    search = {"jobs": 3, "ranges": {"eta": {"min": 0.01, "max": 0.3, "scale": "log"}, "max_depth": {"min": 1, "max": 4, "type": "integer"}}}
    training = {"image": XGBOOST, "hyperparameters": {"num_round": "5"}, "tune": search}
    monitor = {
        "name": "churn", "drops": f"s3://{bucket}/in/", "baseline": f"s3://{bucket}/base/", "columns": {"label": "churned"}, "retrain": {"recipe": "xgb"},
    }  # fmt: skip
    recipe = {"role": ROLE, "output": f"s3://{bucket}/out", "steps": steps, "training": training, "batch": {"enabled": False}}
    return parse_config({"monitors": [monitor], "recipes": {"xgb": recipe}}, source="test")


async def test_best_of_a_search_becomes_champion(plane: Plane, sagemaker: Any, s3: Any, bucket: str, database: Database) -> None:
    clock, metrics = SystemClock(), RetrainerMetrics()
    outbox = Outbox(database, store.outbox, store.inbox, clock)
    plans = Plans(database, outbox, config_of(bucket), clock, metrics, "test", bucket)
    jobs, endpoints = SageMaker(sagemaker), FakeEndpoints(FakeTrainingJobs())
    watcher = Watcher(database, plans, jobs, endpoints, S3Objects(s3), clock, metrics, image=lambda: XGBOOST)
    drift = DriftDetected(
        monitor="churn", episode=1, window=WindowRef(id="w", rows=300), baseline=BaselineRef(version=1, digest="b", rows=300),
        summary="x moved", columns=("x",), checks=(), drops=(DropRef(bucket=bucket, key="in/a.csv", etag="e", rows=300),), trainable=True,
    )  # fmt: skip
    await Handlers(database, outbox, clock, lambda: None).handle(Event.of(drift, time=clock.now()))

    def facts() -> list[Any]:
        with database.read() as connection:
            return [parse_event(row.body.encode()).data for row in connection.execute(store.outbox.select())]

    for _ in range(10):  # each round ends when a job has to be waited for
        while await watcher.round():
            pass
        if any(isinstance(fact, ModelPromoted) for fact in facts()):
            break
        await until(lambda: "InProgress" not in plane.jobs().values())
    (promoted,) = [fact for fact in facts() if isinstance(fact, ModelPromoted)]
    (trained,) = [fact for fact in facts() if isinstance(fact, TrainingSucceeded)]
    found = await sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=trained.job)
    best = found["BestTrainingJob"]
    assert promoted.model_data.endswith(f"/models/{best['TrainingJobName']}/output/model.tar.gz")
    assert trained.metrics["validation:auc"] == pytest.approx(best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
    assert trained.job.startswith("ds-churn-")
    with database.read() as connection:
        assert [job.kind for job in connection.execute(store.job.select())] == ["processing", "tuning", "processing"]
    database.close()
