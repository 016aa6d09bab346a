"""What came of a tuning job, as SageMaker tells it: of the search itself, of its training jobs and of the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from driftsonde.core.ports import JobState, JobStatus

_PAGE: Final = 100


async def outcome(client: Any, answer: Mapping[str, Any], state: JobState) -> JobStatus:
    """Return the status of a tuning job: with artifact and metrics of its best training job, and the seconds of all of them.

    Seconds are those that are paid for, summed over the training jobs, however many ran at a time.

    Args:
        client: SageMaker's client; what it raises goes through.
        answer: of DescribeHyperParameterTuningJob.
        state: what the answer's status means.
    """
    detail = answer.get("FailureReason") or ""
    if state == "running":
        return JobStatus(state, detail)
    seconds = await _seconds(client, answer["HyperParameterTuningJobName"])
    best = answer.get("BestTrainingJob")
    if state != "succeeded":
        return JobStatus(state, detail, None, None, seconds)
    if not best:
        return JobStatus("failed", "no training job of the tuning job has reported the metric", None, None, seconds)
    job = await client.describe_training_job(TrainingJobName=best["TrainingJobName"])
    metrics = {item["MetricName"]: float(item["Value"]) for item in job.get("FinalMetricDataList", [])}
    artifact = (job.get("ModelArtifacts") or {}).get("S3ModelArtifacts")
    if not artifact:
        return JobStatus("failed", f"the best training job, {best['TrainingJobName']}, has left no model", metrics, None, seconds)
    return JobStatus(state, f"best training job: {best['TrainingJobName']}", metrics, artifact, seconds)


async def _seconds(client: Any, name: str) -> float:
    """Return how long the training jobs took, all together."""
    total, more = 0.0, {"HyperParameterTuningJobName": name, "MaxResults": _PAGE}
    while True:
        page = await client.list_training_jobs_for_hyper_parameter_tuning_job(**more)
        for job in page["TrainingJobSummaries"]:
            start, end = job.get("TrainingStartTime"), job.get("TrainingEndTime")
            if isinstance(start, datetime) and isinstance(end, datetime):
                total += (end - start).total_seconds()
        if not page.get("NextToken"):
            return total
        more = {**more, "NextToken": page["NextToken"]}
