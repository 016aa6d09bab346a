"""F39 A job fails, is stopped or never ends, and no state change is ever told.

Promised: polling finds out; at most one automatic retry, under a new name; a deadline ends what hangs; the plan ends, and says why.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .reaction import OUT, STEPS, Retraining, drift

pytestmark = pytest.mark.slow

BAD = {
    "prepare": f"""
case $PROCESSING_JOB_NAME in
ds-fails-*) echo no space left; exit 1;;
ds-flaky-*) [ -e "$0.again" ] || {{ touch "$0.again"; exit 1; }};;
esac
{STEPS["prepare"]}
""",
    "train": f"""
case $TRAINING_JOB_NAME in
ds-hangs-*) exec sleep 600;;
ds-stopped-*) [ -e "$0.again" ] || {{ touch "$0.again"; exec sleep 600; }};;
esac
{STEPS["train"]}
""",
}


def test_bad_ends_are_seen_and_tried_once_more(emulator: str, tmp_path: Path, database: str) -> None:
    replicas = 1 if database.startswith("sqlite") else 2
    monitors, recipe = ("fails", "flaky", "hangs", "stopped"), {"training": {"compute": {"max_runtime": "4s"}}}
    with Retraining(emulator, tmp_path, database, monitors=monitors, recipe=recipe, steps=BAD, replicas=replicas) as rig:
        rig.publish(*(drift(name) for name in monitors))
        rig.until(lambda: (tmp_path / "train.sh.again").exists(), "a job to stop")
        rig.ask_sagemaker("StopTrainingJob", TrainingJobName=rig.name_of("train", "stopped"))
        rig.ended(failed=2, done=2)
        assert "no space left" in rig.said("fails-1")[-1]["reason"]
        assert "train job stopped" in rig.said("hangs-1")[-1]["reason"]
        assert len(rig.jobs("prepare")) == 2 + 2 + 1 + 1
        assert len(rig.jobs("train")) == 1 + 2 + 2
        rig.verify()


def test_report_that_no_step_may_write_fails_its_plan_alone(emulator: str, tmp_path: Path, database: str) -> None:
    steps = {
        "evaluate": f"case $PROCESSING_JOB_NAME in ds-odd-*) echo '[]' >{OUT}/metrics/metrics.json; exit 0;; esac\n{STEPS['evaluate']}"
    }
    with Retraining(emulator, tmp_path, database, monitors=("odd", "churn"), steps=steps) as rig:
        rig.publish(drift("odd"), drift("churn"))
        rig.ended(failed=1, done=1)
        assert "metrics.json" in rig.said("odd-1")[-1]["reason"]
        rig.verify()


def test_transform_that_never_begins_meets_its_deadline(emulator: str, tmp_path: Path, database: str) -> None:
    recipe = {"batch": {"enabled": True, "compute": {"max_runtime": "2s"}}}
    steps = {"evaluate": f'while [ ! -e "$0.go" ]; do sleep 0.05; done\n{STEPS["evaluate"]}'}
    with Retraining(emulator, tmp_path, database, recipe=recipe, steps=steps, sagemaker=("--concurrency", "1")) as rig:
        rig.publish(drift())
        rig.until(lambda: rig.jobs("evaluate"), "the step before")
        rig.occupy("takes-the-only-machine")
        (tmp_path / "evaluate.sh.go").touch()
        rig.ended(failed=1)
        assert [job["status"] for job in rig.jobs("transform")] == ["Stopped", "Stopped"]
        assert rig.said()[-1]["type"] == "batch.finished"
        rig.verify(foreign=["takes-the-only-machine"])
