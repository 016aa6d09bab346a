"""The compose file, brought up once for all tests of this folder, without Grafana."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from testcontainers.compose import DockerCompose

from driftsonde.core.local.attached import Attached
from driftsonde.core.local.stack import free_port

from .engine import client

ROOT = Path(__file__).parents[2]
STARTED = ["detector", "retrainer", "notifier", "prometheus"]


@pytest.fixture(scope="session")
def compose() -> Iterator[DockerCompose]:
    """Everything of docker-compose.yml but Grafana, healthy."""
    os.environ["DOCKER_CONFIG"] = str(ROOT / ".tools" / "compose")  # where the client finds `compose`, whatever else is installed
    for part in ("AWS", "SAGEMAKER", "DETECTOR", "RETRAINER", "NOTIFIER", "SLACK", "PROMETHEUS"):
        os.environ[f"DRIFTSONDE_PORT_{part}"] = str(free_port())
    running = DockerCompose(ROOT, services=STARTED, docker_command_path=client())
    everything = DockerCompose(ROOT, docker_command_path=client())  # its end also takes down what those depend on
    everything.stop()
    try:
        running.start()
        yield running
    except subprocess.CalledProcessError as exc:
        logs = "\n".join(running.get_logs())
        pytest.fail(f"{exc.stderr.decode()[-2000:]}\n{logs[-6000:]}")
    finally:
        everything.stop()


@pytest.fixture(scope="session")
def places(compose: DockerCompose) -> Attached:
    """Where it answers."""
    return Attached()


@pytest.fixture(scope="session")
def containers(compose: DockerCompose) -> dict[str, Container]:
    """Its containers, by service."""
    found = docker.from_env().containers.list(all=True, filters={"label": "com.docker.compose.project=driftsonde"})
    return {container.labels["com.docker.compose.service"]: container for container in found}
