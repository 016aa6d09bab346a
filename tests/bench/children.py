"""Runners as child processes: their environments, the protocol of `peers.harness`, and rounds over several of them."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .measure import CACHE, ROOT, Cost, middle, progress

Key = TypeVar("Key", bound=Hashable)
PEERS = Path(__file__).parent / "peers"
_PYTHON = "3.11"  # the newest that every peer installs on
_PREPARE_SECONDS = 600
_MEASURE_SECONDS = 900


class SkippedError(Exception):
    """A runner cannot be installed, does not start or breaks; the message says which."""


@dataclass(frozen=True)
class Run:
    """What one runner is asked to do.

    Args:
        peer: the runner's folder.
        form: `memory`, or the format of a file.
        folder: where W1 is.
        rows: rows of the window.
        reference: rows of the reference.
    """

    peer: str
    form: str
    folder: Path
    rows: int
    reference: int


@dataclass
class Outcome:
    """What became of it; `cost` is None when `skipped` says why."""

    cost: Cost | None = None
    versions: dict[str, str] = field(default_factory=dict)
    distances: dict[str, float] = field(default_factory=dict)
    skipped: str = ""


def environment(peer: str) -> Path:
    """Return the Python of a peer's environment, made from its hashed requirements on first use; ours for our own runners.

    Raises:
        SkippedError: if it cannot be installed.
    """
    requirements = PEERS / peer / "requirements.txt"
    if not requirements.exists():
        return Path(sys.executable)
    folder = CACHE / "envs" / peer
    python, stamp = folder / "bin" / "python", folder / ".requirements"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        progress(f"install {peer}")
        _uv("venv", "--clear", "--python", _python(), str(folder))
        _uv("pip", "install", "--compile-bytecode", "--python", str(python), "--require-hashes", "-r", str(requirements))
        stamp.write_text(digest)
    return python


def _python() -> str:
    return sys.executable if f"{sys.version_info.major}.{sys.version_info.minor}" == _PYTHON else _PYTHON


def _uv(*arguments: str) -> None:
    done = subprocess.run([Path(sys.executable).with_name("uv"), *arguments, "-q"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkippedError(f"not installed: {_last_line(done.stderr)}")


def child_environment() -> dict[str, str]:
    """Return the variables of a child: `bench` can be imported, and no library starts threads of its own."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    # Evidently would report its use; nothing that is measured here may depend on a network.
    quiet = {"DO_NOT_TRACK": "1", "WHYLOGS_NO_ANALYTICS": "True", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **single, **quiet, "PYTHONPATH": str(ROOT / "tests")}


class Child:
    """A runner's process."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log
        self.versions: dict[str, str] = self._answer(_PREPARE_SECONDS)["versions"]

    def measure(self) -> dict[str, Any]:
        """Let it do its work once.

        Raises:
            SkippedError: if it breaks or takes too long.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SkippedError(f"broke: {_last_line(self._log.read_text())}") from None
        return self._answer(_MEASURE_SECONDS)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            self._process.kill()
            raise SkippedError(f"no answer within {seconds:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise SkippedError(f"broke: {_last_line(self._log.read_text())}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def started(run: Run) -> Iterator[Child]:
    """Start a runner, wait until it is ready, and end it afterwards.

    Raises:
        SkippedError: if it cannot be installed or does not become ready.
    """
    log = CACHE / "logs" / f"{run.peer}-{run.form}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [run.form, str(run.folder), str(run.rows), str(run.reference)]
    command = [str(environment(run.peer)), "-m", f"bench.peers.{run.peer}.run", *arguments]
    with log.open("w") as errors, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=child_environment(), cwd=ROOT
    ) as process:  # fmt: skip
        try:
            yield Child(process, log)
        finally:
            process.kill()  # it keeps nothing, and some tools leave threads that never end


def race(runs: Mapping[Key, Run], rounds: int) -> dict[Key, Outcome]:
    """Measure runners in turn: A B C, A B C …; the first turn warms up and is not counted. One that breaks drops out."""
    outcomes = {key: Outcome() for key in runs}
    costs: dict[Key, list[Cost]] = {key: [] for key in runs}
    with ExitStack() as stack:
        children: dict[Key, Child] = {}
        for key, run in runs.items():
            progress(f"start {run.peer} ({run.form})")
            try:
                children[key] = stack.enter_context(started(run))
            except SkippedError as exc:
                outcomes[key].skipped = str(exc)
        for turn in range(rounds + 1):
            for key in list(children):
                try:
                    answer = children[key].measure()
                except SkippedError as exc:
                    outcomes[key].skipped = str(exc)
                    del children[key]
                    continue
                outcomes[key].distances, outcomes[key].versions = answer["distances"], children[key].versions
                if turn:
                    costs[key].append(Cost(answer["cpu"], answer["wall"]))
            progress(f"round {turn} of {rounds}")
    for key, measured in costs.items():
        if not outcomes[key].skipped:
            outcomes[key].cost = middle(measured)
    return outcomes


def ratio(outcomes: Mapping[Key, Outcome], slow: Key, fast: Key) -> float | None:
    """Return how many times the CPU time of `fast` that of `slow` is, if both were measured."""
    over, under = outcomes[slow].cost, outcomes[fast].cost
    return over.cpu / under.cpu if over and under else None


def skips(outcomes: Mapping[str, Outcome]) -> str:
    """Return a line that says what was left out, and why."""
    left: Sequence[str] = [f"{name} ({outcome.skipped})" for name, outcome in outcomes.items() if outcome.skipped]
    return "Skipped: " + "; ".join(left) + "." if left else ""


def _last_line(text: str) -> str:
    lines = deque((line.strip() for line in text.splitlines() if line.strip()), maxlen=1)
    return lines[0] if lines else "without a word"
