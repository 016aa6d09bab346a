"""A container engine: the one that runs, or Debian's, started for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


class NoEngine(Exception):
    """There is no engine, and none can be started; says why."""


def docker(*arguments: str, check: bool = True, stdin: IO[bytes] | None = None, quiet: bool = False) -> str:
    """Run the client and return what it prints.

    Args:
        arguments: of `docker`.
        check: whether a failure ends the run, with what the client said.
        stdin: what it reads.
        quiet: whether what it says of an error is kept back.
    """
    done = subprocess.run(
        [client(), *arguments], stdin=stdin, capture_output=True, text=True, check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    )  # fmt: skip
    if done.returncode and check:
        raise SystemExit(f"docker {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    if done.returncode and not quiet:
        print(done.stderr, file=sys.stderr)
    return done.stdout.strip() if not done.returncode else ""


def client() -> str:
    """Return the client: Debian's own before another on PATH, because it builds without the plugin buildx."""
    found = os.environ.get("DRIFTSONDE_DOCKER") or shutil.which("docker", path="/usr/bin") or shutil.which("docker")
    if found is None:
        raise NoEngine("there is no `docker`")
    return found


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """Have an engine answer while the block runs.

    Raises:
        NoEngine: if none does, and none can be started.
    """
    if docker("version", "--format", "{{.Server.Version}}", check=False, quiet=True):
        yield
        return
    daemon = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if daemon is None:
        raise NoEngine("no engine answers, and there is no `dockerd` to start")
    if os.geteuid() != 0:
        raise NoEngine("no engine answers, and only root may start one")
    with _started(daemon):
        yield


@contextlib.contextmanager
def _started(daemon: str) -> Iterator[None]:
    before = _rules()
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen([daemon], stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not docker("version", "--format", "{{.Server.Version}}", check=False, quiet=True):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NoEngine(f"dockerd does not start: {Path(log.name).read_text(errors='replace')[-500:]}")
                time.sleep(0.3)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _restore(before)


def _rules() -> bytes | None:
    """Return the packet filter as it is; the engine leaves its chains behind."""
    done = subprocess.run(["iptables-save"], capture_output=True, check=False) if shutil.which("iptables-save") else None
    return done.stdout if done and not done.returncode else None


def _restore(rules: bytes | None) -> None:
    if rules is not None:
        subprocess.run(["iptables-restore"], input=rules, check=False, capture_output=True)
