"""The whole of driftsonde on one machine, as child processes: emulated AWS, local SageMaker, a bus, the three services.

`driftsonde up`, `driftsonde demo` and the end-to-end tests run on it. Every hop uses its real protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from driftsonde.core.errors import ConfigError, DriftsondeError
from driftsonde.core.local.queues import DEAD_LETTERS, INTAKE, JOB_STATES, create_queues

SERVICES = ("detector", "retrainer", "notifier")
REGION, ACCOUNT = "us-east-1", "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/driftsonde-local"
STANDARD_PORTS = {"aws": 4566, "bus": 4222, "sagemaker": 4570, "detector": 8080, "retrainer": 8081, "notifier": 8082, "prometheus": 9090}
"""Where things answer by default; the services' own are the documented ones."""

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_program(name: str, variable: str, *places: Path) -> str:
    """Return a program's path, from a variable, a list of places, beside this Python, or PATH.

    Raises:
        ConfigError: if it is nowhere; the message says how to get it.
    """
    candidates = [Path(os.environ[variable])] if variable in os.environ else [*places, Path(sys.executable).parent / name]
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    found = shutil.which(name)
    if found is None:
        raise ConfigError(f"{name} was not found; `make setup` installs it, or set {variable} to its path")
    return found


class Places:
    """Where everything answers on this machine, by name of the part; somebody else started it."""

    ports: Mapping[str, int]

    @property
    def logs(self) -> str:
        """Say where the logs are."""
        return "`docker compose logs` shows them"

    def check(self) -> None:
        """Raise if a part has ended, where that can be seen."""

    @property
    def endpoint(self) -> str:
        """Where S3, SQS, SNS and EventBridge answer."""
        return f"http://127.0.0.1:{self.ports['aws']}"

    def queue_url(self, name: str) -> str:
        """Return the URL of one of our queues."""
        return f"{self.endpoint}/{ACCOUNT}/{name}"

    @property
    def queue_arn(self) -> str:
        """ARN of the queue that buckets notify."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{INTAKE}"

    def service_url(self, name: str) -> str:
        """Return where a service answers."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def aws_environment(self) -> dict[str, str]:
        """Return the variables that point AWS clients at the stand-ins."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_SAGEMAKER": f"http://127.0.0.1:{self.ports['sagemaker']}",
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{self.ports['sagemaker']}",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    @contextlib.contextmanager
    def aws(self) -> Iterator[None]:
        """Point this process's AWS clients at the stand-ins while the block runs."""
        before = {name: os.environ.get(name) for name in self.aws_environment()}
        os.environ.update(self.aws_environment())
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@dataclass
class Child:
    """One child process and where it logs."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 12) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, sig: signal.Signals = signal.SIGTERM, wait: float = _STOP_SECONDS) -> int:
        """Signal it, wait for its end, kill it if it does not; returns its exit code."""
        if self.alive():
            self.process.send_signal(sig)
        return self.wait(wait)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Wait for its end, kill it if that does not come; returns its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass
class Stack(Places):
    """Everything under one folder; `with Stack(...) as stack` starts the infrastructure and stops all at the end.

    Args:
        root: folder for state and logs; kept, so that a later start resumes.
        config: the configuration file of the services.
        environment: more variables for the services.
        databases: database URL by service; default SQLite under `root`.
        preferred_ports: ports to take where they are free.
        python: the interpreter that services run in.
    """

    root: Path
    config: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict)
    preferred_ports: Mapping[str, int] = field(default_factory=dict)
    python: str = sys.executable
    children: dict[str, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {name: self._port(name) for name in ("aws", "bus", "sagemaker", *SERVICES, "prometheus")}

    def __enter__(self) -> Stack:
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        try:
            self._start_bus()
            self._start_emulator()
            self._create_queues()
            self.start_sagemaker()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _port(self, name: str) -> int:
        wanted = self.preferred_ports.get(name)
        return wanted if wanted is not None and not _listens(wanted) else free_port()

    @property
    def bus_url(self) -> str:
        """Where the bus answers."""
        return f"nats://127.0.0.1:{self.ports['bus']}"

    def start_service(self, name: str) -> None:
        """Start a service and wait until it is ready."""
        self.launch_service(name)
        self.wait_ready(name)

    def launch_service(self, name: str) -> None:
        """Start a service without waiting."""
        settings = {
            "DRIFTSONDE_CONFIG": str(self.config),
            "DRIFTSONDE_DATABASE_URL": self.databases.get(name, f"sqlite:///{self.root / f'{name}.sqlite'}"),
            "DRIFTSONDE_BUS_URL": self.bus_url,
            "DRIFTSONDE_PORT": str(self.ports[name]),
            "DRIFTSONDE_QUEUE_URL": self.queue_url(INTAKE),
            "DRIFTSONDE_DEAD_LETTER_URL": self.queue_url(DEAD_LETTERS),
            "DRIFTSONDE_JOB_STATES_URL": self.queue_url(JOB_STATES),
            "DRIFTSONDE_POLL_SECONDS": "1",
            "DRIFTSONDE_POLL_JOBS_SECONDS": "2",
        }
        self._spawn(name, [self.python, "-m", f"driftsonde.{name}"], {**settings, **self.environment})

    @property
    def logs(self) -> str:
        """Say where the logs are."""
        return f"logs are in {self.root / 'logs'}"

    def check(self) -> None:
        """Raise `DriftsondeError` with the end of its log if a child has ended."""
        for child in self.children.values():
            if not child.alive():
                raise DriftsondeError(f"{child.name} ended with exit code {child.process.returncode}:\n{child.tail()}")

    def wait_ready(self, name: str) -> None:
        """Wait until a service answers that it is ready."""
        self._wait(name, lambda: answers(f"{self.service_url(name)}/readyz"))

    def start_sagemaker(self) -> None:
        """Start local SageMaker; what it was doing when it was stopped goes on."""
        port = self.ports["sagemaker"]
        command = [
            sys.executable, "-m", "driftsonde.core.local.sagemaker", "--port", str(port), "--root", str(self.root / "sagemaker"),
            "--events-queue-url", self.queue_url(JOB_STATES),
        ]  # fmt: skip
        self._spawn("sagemaker", command, {})
        self._wait("sagemaker", lambda: answers(f"http://127.0.0.1:{port}/_local/health"))

    def run_beside(self, name: str, command: list[str], ready: Callable[[], bool]) -> None:
        """Start another child and wait until it is ready; it stops with the rest."""
        self._spawn(name, command, {})
        self._wait(name, ready)

    def kill(self, name: str) -> None:
        """Kill a child without warning, as a machine that dies does."""
        self.children[name].stop(signal.SIGKILL)

    def stop(self) -> dict[str, int]:
        """Stop everything, services first; returns the exit codes."""
        order = [*SERVICES, *(name for name in reversed(self.children) if name not in SERVICES)]
        running = [self.children[name] for name in order if name in self.children]
        for child in running:
            if child.name in SERVICES and child.alive():
                child.process.terminate()  # all at once: each may take its grace
        return {child.name: child.wait() if child.name in SERVICES else child.stop() for child in running}

    def _start_bus(self) -> None:
        program = find_program("nats-server", "DRIFTSONDE_NATS_SERVER")
        settings = {
            "listen": f"127.0.0.1:{self.ports['bus']}",
            # The server's default flushes every two minutes: acknowledged messages would be lost with the machine.
            "jetstream": {"store_dir": str(self.root / "bus"), "sync_interval": "always"},
        }
        config = self.root / "bus.json"
        config.write_text(json.dumps(settings))
        self._spawn("bus", [program, "-c", str(config)], {})
        self._wait("bus", lambda: _listens(self.ports["bus"]))

    def _start_emulator(self) -> None:
        program = find_program("ministack", "DRIFTSONDE_MINISTACK", Path(sys.prefix).parent / ".tools/ministack/bin/ministack")
        settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.ports["aws"])}
        self._spawn("aws", [program], settings)
        self._wait("aws", lambda: answers(f"{self.endpoint}/_ministack/health"))

    def _create_queues(self) -> None:
        with self.aws():
            asyncio.run(create_queues())

    def _spawn(self, name: str, command: list[str], settings: Mapping[str, str]) -> None:
        log = self.root / "logs" / f"{name}.log"
        environment = {**os.environ, **self.aws_environment(), **settings}
        # Numerical libraries would otherwise take a thread per core in every process.
        environment.setdefault("OMP_NUM_THREADS", "1")
        with log.open("ab") as out:
            self.children[name] = Child(name, _popen(command, environment, out), log)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        child = self.children[name]
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if not child.alive():
                raise DriftsondeError(f"{name} ended with exit code {child.process.returncode}:\n{child.tail()}")
            if time.monotonic() > deadline:
                raise DriftsondeError(f"{name} was not ready after {_START_SECONDS:.0f} s:\n{child.tail()}")
            time.sleep(0.05)


def _popen(command: list[str], environment: Mapping[str, str], out: IO[bytes]) -> subprocess.Popen[bytes]:
    # Its own process group: Ctrl-C in the terminal reaches us alone, and we stop the children in order.
    return subprocess.Popen(command, env=dict(environment), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, process_group=0)


def answers(url: str) -> bool:
    """Whether an address answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
