"""Runs jobs in the order of their creation, a few at a time, and takes up again what was interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

from driftsonde.core.local.sagemaker import processing, training, transform
from driftsonde.core.local.sagemaker.container import MAX_REASON, Job, JobTimedOut
from driftsonde.core.local.sagemaker.kinds import KINDS, TRAINING, TUNING, JobKind, Json
from driftsonde.core.local.sagemaker.objects import JobFailed, Objects
from driftsonde.core.local.sagemaker.process import reap
from driftsonde.core.local.sagemaker.progress import Progress
from driftsonde.core.local.sagemaker.registry import Registry, Resource
from driftsonde.core.local.sagemaker.settings import Settings

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, str]

_EXECUTE: Final[dict[str, Callable[[Job], Awaitable[Json]]]] = {
    "training": training.run,
    "processing": processing.run,
    "transform": transform.run,
}


class Runner:
    """The machines of this account: a queue of jobs and `settings.concurrency` workers."""

    def __init__(self, settings: Settings, registry: Registry, progress: Progress, objects: Objects) -> None:
        self._settings = settings
        self._registry = registry
        self._progress = progress
        self._objects = objects
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._stops: dict[Key, asyncio.Event] = {}

    def submit(self, kind: JobKind, name: str) -> None:
        """Queue a job that the registry already knows."""
        self._queue.put_nowait((kind.name, name))

    def stop(self, kind: JobKind, name: str) -> None:
        """Stop a job: at once if it waits, else by ending its process group."""
        self._progress.stopping(kind, name)
        running = self._stops.get((kind.name, name))
        if running is None:
            self._progress.ended(kind, name, "Stopped")
        else:
            running.set()

    async def recover(self) -> None:
        """End what an earlier control plane left running and queue its jobs again; call before the first request."""
        for resource in self._registry.unfinished():
            kind = KINDS[resource.kind]
            if kind is TUNING:  # no program of its own; the tuner goes on with it
                continue
            await reap(self._home(resource))
            if resource.status == "Stopping":
                self._progress.ended(kind, resource.name, "Stopped")
                continue
            if kind.moment("Start") in resource.body:
                log.info("%s job %s was interrupted and is run again", resource.kind, resource.name)
                self._progress.phase(kind, resource.name, "Interrupted")
                self._progress.phase(kind, resource.name, "Starting")
            self.submit(kind, resource.name)

    async def run(self) -> None:
        """Work until cancelled; a job that was running then stays InProgress for the next control plane."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            kind_name, name = await self._queue.get()
            resource = self._registry.get(kind_name, name)
            if resource is None or resource.status != "InProgress":  # stopped while it waited
                continue
            kind = KINDS[kind_name]
            try:
                await self._attempt(kind, resource)
            except Exception as exc:  # the only broad handler: whatever went wrong, the job ends and the next one runs
                log.exception("%s job %s failed for a reason of ours", kind_name, name)
                self._progress.ended(kind, name, "Failed", FailureReason=f"InternalServerError: {exc!r}"[:MAX_REASON])

    async def _attempt(self, kind: JobKind, resource: Resource) -> None:
        job = self._job(kind, resource)
        stop = self._stops[kind.name, job.name] = asyncio.Event()
        work = asyncio.ensure_future(self._execute(job))
        waiter = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((work, waiter), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Cancelling the work ends its process group; on shutdown this is all that happens to the job.
            work.cancel()
            waiter.cancel()
            await asyncio.gather(work, waiter, return_exceptions=True)
            del self._stops[kind.name, job.name]
        await self._end(job, stopped=stop.is_set(), work=work)

    async def _execute(self, job: Job) -> Json:
        """Do the job from the beginning, in an empty directory."""
        async with job.phase("Starting"):
            self._progress.started(job.kind, job.name)
            await asyncio.to_thread(job.prepare)
        return await _EXECUTE[job.kind.name](job)

    async def _end(self, job: Job, *, stopped: bool, work: asyncio.Future[Json]) -> None:
        """Turn what became of the work into the job's last state."""
        try:
            if stopped:
                self._progress.ended(job.kind, job.name, "Stopped", **await _saved(job))
                return
            self._progress.ended(job.kind, job.name, "Completed", **work.result(), FailureReason=None)
        except JobTimedOut:
            late = "The job ran longer than MaxRuntimeInSeconds and was stopped"
            fields = await _saved(job) if job.kind is TRAINING else {"ExitMessage": late}
            self._progress.ended(job.kind, job.name, "Stopped", secondary="MaxRuntimeExceeded", **fields)
        except JobFailed as exc:
            self._progress.ended(job.kind, job.name, "Failed", FailureReason=str(exc)[:MAX_REASON])
        if not self._settings.keep_files:
            await asyncio.to_thread(job.clean)

    def _home(self, resource: Resource) -> Path:
        return self._settings.root / "jobs" / resource.kind / resource.name

    def _job(self, kind: JobKind, resource: Resource) -> Job:
        return Job(
            kind=kind,
            name=resource.name,
            arn=resource.arn,
            body=resource.body,
            home=self._home(resource),
            objects=self._objects,
            progress=self._progress,
            pause=self._settings.min_state_seconds,
            grace=self._settings.grace_seconds,
        )


async def _saved(job: Job) -> Json:
    """Store what a stopped training job had saved, as SageMaker does; nothing for the other kinds or before the program began."""
    return await training.upload(job) if job.kind is TRAINING and (job.base / "model").is_dir() else {}
