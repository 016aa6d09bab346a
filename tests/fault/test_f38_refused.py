"""F38 SageMaker throttles, is out of quota, or calls the request wrong.

Promised: throttled calls are made again; for quota the plan is parked, shown and tried again hourly; what is wrong is refused once, loudly.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .reaction import Retraining, drift

pytestmark = pytest.mark.slow


def test_throttled_calls_are_made_again(emulator: str, tmp_path: Path, database: str) -> None:
    with Retraining(emulator, tmp_path, database) as rig:
        calls = ("CreateProcessingJob", "DescribeTrainingJob")
        rig.script_faults(*({"op": call, "times": 4} for call in calls))
        rig.publish(drift())
        rig.ended(done=1)
        assert rig.log().count("AWS asks to slow down: ThrottlingException") == len(calls)
        assert rig.get("retrainer0", "/readyz")[0] == 200
        rig.verify()


def test_plan_without_quota_is_parked_and_tried_hourly(emulator: str, tmp_path: Path, database: str) -> None:
    monitors = ("churn", "fraud")
    with Retraining(emulator, tmp_path, database, monitors=monitors, sagemaker=("--max-active-jobs", "1")) as rig:
        rig.occupy("somebody-elses")
        rig.publish(drift("churn"), drift("fraud"))
        rig.until(lambda: [rig.said(f"{name}-1")[-1:] != [] for name in monitors] == [True, True], "both decided")
        rig.until(lambda: all(rig.said(f"{name}-1")[-1]["type"] == "plan.waiting" for name in monitors), "both parked")
        assert rig.said()[-1]["reason"] == "SageMaker's quota is used up"
        for _ in range(2):
            told = len(rig.said())
            rig.an_hour_passes()
            rig.until(lambda told=told: len(rig.said()) == told + 1, "another try")
        assert [job["name"] for job in rig.jobs()] == ["somebody-elses"]
        rig.ask_sagemaker("StopProcessingJob", ProcessingJobName="somebody-elses")
        rig.until(lambda: rig.jobs()[0]["status"] == "Stopped", "room for one job")
        rig.until(lambda: _go_on(rig), "both plans")
        rig.ended(done=2)
        rig.verify(foreign=["somebody-elses"])


def test_wrong_request_is_refused_once(emulator: str, tmp_path: Path, database: str) -> None:
    with Retraining(emulator, tmp_path, database, monitors=("churn", "fraud")) as rig:
        rig.script_faults({"op": "CreateProcessingJob", "code": "ValidationException", "message": "no such instance"})
        rig.publish(drift("churn"), drift("fraud"))
        rig.ended(failed=1, done=1)
        assert "no such instance" in rig.said()[-1]["reason"]
        assert rig.log().count("no such instance") == 1
        assert len(rig.jobs("prepare")) == 1
        rig.verify()


def _go_on(rig: Retraining) -> bool:
    rig.an_hour_passes()
    return set(rig.plans().values()) == {"done"}
