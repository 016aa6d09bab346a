"""Tuning jobs: each is a search that starts training jobs, a few at a time, and names the best of them.

Nothing is remembered here: what is to be done follows from the training jobs that the registry holds. So a tuning job goes on
after a restart without a trace, and the names and values of its training jobs are those that they would have had.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from driftsonde.core.local.sagemaker.account import Account
from driftsonde.core.local.sagemaker.kinds import ACTIVE, TRAINING, TUNING, Json
from driftsonde.core.local.sagemaker.paging import page
from driftsonde.core.local.sagemaker.progress import Progress
from driftsonde.core.local.sagemaker.registry import Registry, Resource, describe
from driftsonde.core.local.sagemaker.rules import AwsError
from driftsonde.core.local.sagemaker.runner import Runner
from driftsonde.core.local.sagemaker.search import sample
from driftsonde.core.local.sagemaker.settings import Settings

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.1
_COUNTED: Final = {"Stopping": "InProgress", "Failed": "NonRetryableError"}
"""Training job states that the counters call otherwise."""
_SUMMARY: Final = (
    "TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime", "TrainingEndTime", "TrainingJobStatus", "FailureReason",
)  # fmt: skip
_OF_DEFINITION: Final = ("DefinitionName", "StaticHyperParameters")
_NONE_DONE = "All training jobs failed. Please take a look at the training jobs failures to get more details."
_NONE_MEASURED = "No objective metrics found after running {} training jobs; the algorithm must report {}."


class Tuner:
    """The tuning jobs of this account."""

    def __init__(self, settings: Settings, registry: Registry, progress: Progress, runner: Runner) -> None:
        self._settings, self._registry, self._progress, self._runner = settings, registry, progress, runner
        self._account = Account(settings, registry)
        self._changed = asyncio.Event()
        self.calls: dict[str, Callable[[Json], Json]] = {
            "CreateHyperParameterTuningJob": self._create,
            "StopHyperParameterTuningJob": self._stop,
            "ListHyperParameterTuningJobs": self._list,
            "ListTrainingJobsForHyperParameterTuningJob": self._list_training,
        }

    async def run(self) -> None:
        """Go on with every tuning job until cancelled, beginning with those that an earlier control plane left."""
        while True:
            self._changed.clear()
            unfinished = [job for job in self._registry.all_of(TUNING.name) if job.status in ACTIVE]
            for job in unfinished:
                try:
                    self._advance(job)
                except Exception as exc:  # the only broad handler: a tuning job must not stay in a state that never ends
                    log.exception("tuning job %s failed for a reason of ours", job.name)
                    self._progress.ended(TUNING, job.name, "Failed", FailureReason=f"InternalServerError: {exc!r}"[:1024])
            if unfinished:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                await self._changed.wait()

    def _create(self, request: Json) -> Json:
        name = request[TUNING.key("Name")]
        taken = self._registry.get(TUNING.name, name)
        if taken is not None:
            raise AwsError("ResourceInUse", f"Job name must be unique within an AWS account and region, and {taken.arn} already exists")
        active = sum(job.status in ACTIVE for job in self._registry.all_of(TUNING.name))
        if active >= self._settings.max_active_jobs:
            raise AwsError("ResourceLimitExceeded", f"{active} tuning jobs are active, which is this account's limit")
        job = self._account.store(TUNING.name, name, request, status="InProgress", **_counters(()))
        self._progress.created(TUNING, job)
        self._changed.set()
        return {TUNING.key("Arn"): job.arn}

    def _stop(self, request: Json) -> Json:
        job = self._account.find(TUNING.name, request[TUNING.key("Name")])
        if job.status == "InProgress":
            self._progress.stopping(TUNING, job.name)
        elif job.status not in ACTIVE:
            raise AwsError("ValidationException", f"The request was rejected because the tuning job is in status {job.status}.")
        return {}

    def _list(self, request: Json) -> Json:
        found = [job for job in self._registry.all_of(TUNING.name) if request.get("StatusEquals", job.status) == job.status]
        return page(TUNING.key("Summaries"), request, found, _listed)

    def _list_training(self, request: Json) -> Json:
        job = self._account.find(TUNING.name, request[TUNING.key("Name")])
        found = [child for child in self._children(job) if request.get("StatusEquals", child.status) == child.status]
        if request.get("SortBy") == "FinalObjectiveMetricValue":
            values = {child.name: value for child in found if (value := _objective(job, child)) is not None}
            found = sorted((child for child in found if child.name in values), key=lambda child: values[child.name])
        return page("TrainingJobSummaries", request, found, lambda child: _summary(job, child))

    def _children(self, job: Resource) -> list[Resource]:
        return [child for child in self._registry.all_of(TRAINING.name) if child.body.get("TuningJobArn") == job.arn]

    def _advance(self, job: Resource) -> None:
        """Do what can be done now: start training jobs, or stop them, or end."""
        children = self._children(job)
        active = [child for child in children if child.status in ACTIVE]
        limits = job.body["HyperParameterTuningJobConfig"]["ResourceLimits"]
        self._count(job, children)
        if job.status == "Stopping":
            for child in active:
                if child.status == "InProgress":
                    self._runner.stop(TRAINING, child.name)
            if not active:
                self._end(job, "Stopped")
        elif len(children) < limits["MaxNumberOfTrainingJobs"]:
            room = min(limits["MaxParallelTrainingJobs"] - len(active), self._quota_left())
            last = min(limits["MaxNumberOfTrainingJobs"], len(children) + max(room, 0))
            for number in range(len(children), last):
                self._launch(job, number)
        elif not active:
            self._end(job, *_verdict(job, children))

    def _quota_left(self) -> int:
        return self._settings.max_active_jobs - sum(job.kind == TRAINING.name for job in self._registry.unfinished())

    def _launch(self, job: Resource, number: int) -> None:
        definition: Json = job.body["TrainingJobDefinition"]
        name = f"{job.name}-{number + 1:03d}-{hashlib.sha256(f'{job.arn}/{number}'.encode()).hexdigest()[:8]}"
        tuned = sample(job.body["HyperParameterTuningJobConfig"], job.name, number)
        request = {
            **{key: value for key, value in definition.items() if key not in _OF_DEFINITION},
            "TrainingJobName": name,
            "HyperParameters": {**definition.get("StaticHyperParameters", {}), **tuned},
            "Tags": [{"Key": key, "Value": value} for key, value in self._registry.tags(job.arn).items()],
        }
        self._account.store(TRAINING.name, name, request, status="InProgress", TuningJobArn=job.arn, TunedHyperParameters=tuned)
        self._progress.phase(TRAINING, name, "Starting")
        self._runner.submit(TRAINING, name)

    def _count(self, job: Resource, children: Sequence[Resource]) -> None:
        measured = [child for child in children if _objective(job, child) is not None]
        best = {"BestTrainingJob": _summary(job, max(measured, key=lambda child: _rank(job, child)))} if measured else {}
        fields = {**_counters([(child.status, child in measured) for child in children]), **best}
        if any(job.body.get(key) != value for key, value in fields.items()):
            self._registry.update(TUNING.name, job.name, fields)

    def _end(self, job: Resource, status: str, reason: str | None = None) -> None:
        consumed = {"RuntimeInSeconds": max(1, round(time.time() - job.created))}
        self._progress.ended(TUNING, job.name, status, FailureReason=reason, ConsumedResources=consumed)


def _objective(job: Resource, child: Resource) -> float | None:
    """Return what a completed training job reported of the objective metric, or None."""
    wanted = job.body["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"]
    metrics: Sequence[Mapping[str, float]] = child.body.get("FinalMetricDataList", [])
    values = [item["Value"] for item in metrics if item["MetricName"] == wanted]
    return values[-1] if values and child.status == "Completed" else None


def _rank(job: Resource, child: Resource) -> float:
    """Return what is more for a better training job; that without a metric is worst."""
    value = _objective(job, child)
    if value is None:
        return float("-inf")
    return value if job.body["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["Type"] == "Maximize" else -value


def _summary(job: Resource, child: Resource) -> Json:
    """Return a training job as the calls of its tuning job show it."""
    described, value = describe(TRAINING, child), _objective(job, child)
    summary: Json = {key: described[key] for key in _SUMMARY if key in described}
    summary["TunedHyperParameters"] = child.body["TunedHyperParameters"]
    summary["ObjectiveStatus"] = "Pending" if child.status in ACTIVE else "Failed"
    if value is not None:
        metric = {**job.body["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"], "Value": value}
        summary |= {"ObjectiveStatus": "Succeeded", "FinalHyperParameterTuningJobObjectiveMetric": metric}
    return summary


def _counters(children: Sequence[tuple[str, bool]]) -> Json:
    """Return both groups of counters, from each training job's status and whether it has the metric."""
    states = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objectives = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for status, measured in children:
        states[_COUNTED.get(status, status)] += 1
        objectives["Pending" if status in ACTIVE else "Succeeded" if measured else "Failed"] += 1
    return {"TrainingJobStatusCounters": states, "ObjectiveStatusCounters": objectives}


def _verdict(job: Resource, children: Sequence[Resource]) -> tuple[str, str | None]:
    """Return the last status of a tuning job whose training jobs have all ended, and why."""
    if not any(child.status == "Completed" for child in children):
        return "Failed", _NONE_DONE
    if all(_objective(job, child) is None for child in children):
        metric = job.body["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"]
        return "Failed", _NONE_MEASURED.format(len(children), metric)
    return "Completed", None


def _listed(job: Resource) -> Json:
    config = job.body["HyperParameterTuningJobConfig"]
    return {**describe(TUNING, job), "Strategy": config["Strategy"], "ResourceLimits": config["ResourceLimits"]}
