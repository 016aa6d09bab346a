"""SageMaker's container contract without a container: the `opt/ml` tree, the variables and the command of a job."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftsonde.core.local.sagemaker.kinds import JobKind, Json
from driftsonde.core.local.sagemaker.objects import JobFailed, Objects
from driftsonde.core.local.sagemaker.process import Child
from driftsonde.core.local.sagemaker.progress import Progress

HOST = "algo-1"
MAX_REASON = 1024
XGBOOST = "driftsonde.core.local.sagemaker.algorithms.xgboost"

_LOG_LINES = 20
_PASSED = ("PATH", "HOME")


class JobTimedOut(Exception):
    """The program ran longer than MaxRuntimeInSeconds."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a job. `home` is its private directory, `pause` the least time of a state, `grace` from SIGTERM to SIGKILL."""

    kind: JobKind
    name: str
    arn: str
    body: Json
    home: Path
    objects: Objects
    progress: Progress
    pause: float
    grace: float

    @property
    def base(self) -> Path:
        """What a container would see as `/opt/ml`."""
        return self.home / "opt" / "ml"

    def inside(self, path: str) -> Path:
        """Return where a path under `/opt/ml` really is."""
        return self.base / path.removeprefix("/opt/ml").lstrip("/")

    def prepare(self) -> None:
        """Make the private directory, empty but for the lock."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clean()
        (self.home / "log.txt").unlink(missing_ok=True)
        for directory in ("input/config", "input/data", "model", "output/data", "code", "config"):
            (self.base / directory).mkdir(parents=True)

    def clean(self) -> None:
        """Remove the `opt/ml` tree; the log stays."""
        shutil.rmtree(self.home / "opt", ignore_errors=True)

    def write(self, path: str, content: Any) -> None:
        """Write a JSON file of the tree."""
        (self.base / path).write_text(json.dumps(content))

    @contextlib.asynccontextmanager
    async def phase(self, state: str) -> AsyncIterator[None]:
        """Be in a secondary state while the body runs, and for the least time of a state."""
        self.progress.phase(self.kind, self.name, state)
        began = time.monotonic()
        yield
        await asyncio.sleep(max(0.0, self.pause - (time.monotonic() - began)))

    async def start(self, argv: Sequence[str], env: Mapping[str, str]) -> Child:
        """Start a program of this job in the directory of its code."""
        try:
            return await Child.start(argv, env=env, home=self.home, cwd=self.base / "code", grace=self.grace)
        except OSError as exc:
            raise JobFailed(f"InternalServerError: the job's process could not be started: {exc}") from exc

    async def run(self, argv: Sequence[str], env: Mapping[str, str], max_runtime: float) -> None:
        """Run a program to its end.

        Raises:
            JobFailed: if it exits with an error; the reason is its failure file, or the end of its log.
            JobTimedOut: if it takes too long.
        """
        child = await self.start(argv, env)
        try:
            async with asyncio.timeout(max_runtime):
                code = await child.wait()
        except TimeoutError:
            raise JobTimedOut from None
        if code != 0:
            raise JobFailed(self._failure(code))

    def _failure(self, code: int) -> str:
        file = self.base / "output" / "failure"
        text = file.read_text(errors="replace").strip() if file.is_file() else self.log_tail()
        suffix = f", exit code: {code}"
        room = MAX_REASON - len("AlgorithmError: ") - len(suffix)
        # The end of a log says what happened; a failure file is written to be read from its beginning.
        return f"AlgorithmError: {text[:room] if file.is_file() else text[-room:]}{suffix}"

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return log_tail(self.home)

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a program: few of ours, those of the request, those of the contract."""
        return {**variables(self.base, self.body.get("Environment", {})), **extra}


def log_tail(home: Path) -> str:
    """Return the last lines of what a program with this private directory printed."""
    path = home / "log.txt"
    return "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_LINES:]) if path.is_file() else ""


def variables(base: Path, requested: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a program whose `/opt/ml` is `base`: few of ours, those of the request, those of the contract."""
    passed = {key: value for key, value in os.environ.items() if key in _PASSED or key.startswith("AWS_")}
    return {
        **passed,
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        **requested,
        "SAGEMAKER_BASE_DIR": str(base),
        "SM_CURRENT_HOST": HOST,
        "SM_HOSTS": json.dumps([HOST]),
        "SM_NUM_CPUS": "1",
        "SM_NUM_GPUS": "0",
        "SM_INPUT_DIR": str(base / "input"),
        "SM_INPUT_CONFIG_DIR": str(base / "input" / "config"),
        "SM_MODEL_DIR": str(base / "model"),
        "SM_OUTPUT_DIR": str(base / "output"),
        "SM_OUTPUT_DATA_DIR": str(base / "output" / "data"),
    }


def resource_config() -> Json:
    """Return `resourceconfig.json`: one host, whatever the request asked for."""
    return {
        "current_host": HOST,
        "current_instance_type": "local",
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "instance_groups": [{"instance_group_name": "homogeneousCluster", "instance_type": "local", "hosts": [HOST]}],
        "network_interface_name": "lo",
    }


def command(entrypoint: Sequence[str], arguments: Sequence[str] = ()) -> list[str]:
    """Return a request's command; `python` is the interpreter that runs the control plane."""
    first, *rest = entrypoint
    return [sys.executable if first in ("python", "python3") else first, *rest, *arguments]


def no_engine(image: str, advice: str) -> JobFailed:
    """Return the failure of a job whose program is known to its image only."""
    return JobFailed(f"ClientError: the image {image!r} cannot run here: local SageMaker has no container engine. {advice}"[:MAX_REASON])
