"""docker-compose.yml on a real engine: the demo through it, how its containers are locked down, and what it withstands."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from docker.models.containers import Container

from driftsonde.core.aws.session import aws_client
from driftsonde.core.cli.demo import BUCKET, MONITOR
from driftsonde.core.local.attached import Attached
from driftsonde.core.local.demo.flights import Day, load_days
from driftsonde.core.local.stack import SERVICES, answers

HARDENED = (*SERVICES, "aws", "sagemaker", "slack", "nats", "prometheus")


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def verdict(places: Attached, key: str) -> str | None:
    """The verdict on one drop."""
    windows = asked(f"{places.service_url('detector')}/api/monitors/{MONITOR}/windows")
    found: dict[str, str | None] = {window["id"]: window["verdict"] for window in windows}
    return found.get(f"s3://{BUCKET}/{key}")


def drop(places: Attached, name: str) -> str:
    """Store a quiet day once more, under another key; returns the key."""
    key = f"incoming/{name}.parquet"

    async def put() -> None:
        async with aws_client("s3") as s3:
            await s3.put_object(Bucket=BUCKET, Key=key, Body=_quiet_day().parquet())

    with places.aws():
        asyncio.run(put())
    return key


def _quiet_day() -> Day:
    return next(day for day in load_days() if day.day.month == 2 and day.day.day == 20)


def ready(places: Attached, name: str) -> bool:
    return answers(f"{places.service_url(name)}/readyz")


def test_demo_goes_through_the_containers_to_the_message(places: Attached) -> None:
    """Verdicts, an episode, a training, predictions and a message: the demo itself fails if one is missing."""
    demo = subprocess.run([Path(sys.executable).parent / "driftsonde", "demo", "--attach"], capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stdout[-3000:] + demo.stderr[-1000:]


@pytest.mark.parametrize("name", HARDENED)
def test_container_has_no_root_no_capability_and_no_disk_to_write_on(containers: dict[str, Container], name: str) -> None:
    container = containers[name]
    assert container.attrs["HostConfig"]["ReadonlyRootfs"]
    status = dict(line.split(":\t", 1) for line in inside(container, "/proc/1/status").splitlines() if ":\t" in line)
    assert set(status["Uid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    code, output = container.exec_run(["sh", "-c", "echo x > /opt/x || echo x > /x"])
    assert code != 0, output


def inside(container: Container, path: str) -> str:
    code, output = container.exec_run(["cat", path])
    assert code == 0, output
    return bytes(output).decode()


def test_prometheus_scrapes_every_service_and_knows_the_alerts(places: Attached) -> None:
    prometheus = f"http://127.0.0.1:{places.ports['prometheus']}"

    def up() -> set[str]:
        found = asked(f"{prometheus}/api/v1/query?query=up==1")["data"]["result"]
        return {series["metric"]["instance"].partition(":")[0] for series in found}

    until(lambda: set(SERVICES) <= up(), "every service scraped")
    groups = asked(f"{prometheus}/api/v1/rules")["data"]["groups"]
    assert groups
    assert all(rule["health"] in ("ok", "unknown") for group in groups for rule in group["rules"])


def test_verdicts_go_on_while_the_bus_is_paused(places: Attached, containers: dict[str, Container]) -> None:
    containers["nats"].pause()
    try:
        key = drop(places, "while-paused")
        until(lambda: verdict(places, key), "a verdict without a bus")
    finally:
        containers["nats"].unpause()
    until(lambda: ready(places, "detector"), "readiness after the pause")


def test_drop_waits_while_the_database_is_cut_off(places: Attached, containers: dict[str, Container]) -> None:
    (name,) = containers["postgres"].attrs["NetworkSettings"]["Networks"]
    network = docker.from_env().networks.get(name)
    network.disconnect(containers["postgres"])
    try:
        key = drop(places, "while-cut-off")
        until(lambda: not ready(places, "detector"), "a detector that is not ready")
        assert answers(f"{places.service_url('detector')}/livez")
    finally:
        network.connect(containers["postgres"], aliases=["postgres"])
    until(lambda: ready(places, "detector"), "readiness with the database")
    until(lambda: verdict(places, key), "the drop's verdict")


@pytest.mark.parametrize("name", SERVICES)
def test_killed_container_is_started_again_and_goes_on(places: Attached, containers: dict[str, Container], name: str) -> None:
    code, _ = containers[name].exec_run(["sh", "-c", "true"])
    assert code == 0
    containers[name].kill()
    containers[name].start()
    until(lambda: ready(places, name), f"{name} ready again")


@pytest.mark.parametrize("name", SERVICES)
def test_stopped_container_drains_and_exits_with_zero(places: Attached, containers: dict[str, Container], name: str) -> None:
    containers[name].stop(timeout=30)
    assert containers[name].wait()["StatusCode"] == 0
    containers[name].start()
    until(lambda: ready(places, name), f"{name} ready again")


def test_rejected_drop_is_counted_and_kept_with_its_reason(places: Attached) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": np.arange(1000)}), sink)

    async def put() -> None:
        async with aws_client("s3") as s3:
            await s3.put_object(Bucket=BUCKET, Key="incoming/broken.parquet", Body=sink.getvalue()[:-20])

    with places.aws():
        asyncio.run(put())

    def kept() -> bool:
        with urllib.request.urlopen(f"{places.service_url('detector')}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        counts = [line.rpartition(" ")[2] for line in lines if line.startswith('driftsonde_detector_drops_total{outcome="unreadable"}')]
        return any(float(count) >= 1 for count in counts)

    until(kept, "the dead letter")
