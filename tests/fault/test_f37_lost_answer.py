"""F37 A job is created and the answer is lost, or the retrainer dies before it can note it; or the name is taken by a stranger.

Promised: the job is adopted, not made again; a foreign job of that name is refused loudly.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .proxies import Call, Fault, HttpProxy
from .reaction import Retraining, drift

pytestmark = pytest.mark.slow


def test_job_whose_answer_was_lost_is_adopted(emulator: str, tmp_path: Path, database: str) -> None:
    with Retraining(emulator, tmp_path, database) as rig:
        lost = {"code": "ConnectionDrop", "after": True}
        rig.script_faults({"op": "CreateProcessingJob", **lost}, {"op": "CreateTrainingJob", **lost})
        rig.publish(drift())
        rig.ended(done=1)
        assert [len(rig.jobs(step)) for step in ("prepare", "train", "evaluate")] == [1, 1, 1]
        rig.verify()


def test_job_of_a_retrainer_that_died_is_adopted(emulator: str, tmp_path: Path, database: str, http: HttpProxy) -> None:
    rig = Retraining(emulator, tmp_path, database)
    http.target, http.script = rig.sagemaker_url, _never_answer_a_create
    rig.environment["AWS_ENDPOINT_URL_SAGEMAKER"] = http.url
    with rig:
        rig.publish(drift())
        rig.until(lambda: len(rig.jobs("prepare")) == 1, "a job")
        rig.kill("retrainer0")
        assert rig.query("select state from job") == [("wanted",)]
        del rig.environment["AWS_ENDPOINT_URL_SAGEMAKER"]
        rig.start()
        rig.ended(done=1)
        assert len(rig.jobs("prepare")) == 1
        rig.verify()


def test_foreign_job_of_that_name_is_refused_loudly(emulator: str, tmp_path: Path, database: str) -> None:
    with Retraining(emulator, tmp_path, database, monitors=("churn", "fraud")) as rig:
        name = rig.name_of("prepare")
        rig.occupy(name)
        rig.publish(drift("churn"), drift("fraud"))
        rig.ended(failed=1, done=1)
        assert f"{name} exists in this account and is not ours" in rig.said()[-1]["reason"]
        assert "plan failed" in rig.log()
        rig.verify(foreign=[name])


def _never_answer_a_create(call: Call) -> Fault | None:
    return Fault(drip=60) if call.action.startswith("Create") else None
