"""Where a processing job finds its files: `/opt/ml`, or what `SAGEMAKER_BASE_DIR` names where no container is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path


def inputs(name: str) -> Path:
    """Return the folder of an input."""
    return _base() / "processing" / "input" / name


def outputs(name: str) -> Path:
    """Return the folder of an output; it is made."""
    folder = _base() / "processing" / "output" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _base() -> Path:
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def run_step(step: Callable[[], None]) -> None:
    """Run a step; what goes wrong is written where SageMaker takes `FailureReason` from, and the exit code is 1."""
    try:
        step()
    except Exception as exc:  # the outermost handler of a command: say why, then fail
        failure = _base() / "output" / "failure"
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(f"{type(exc).__name__}: {exc}"[:1024])
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        sys.exit(1)
