"""The real process: against a real bus and a scripted Slack, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftsonde.core.bus.nats import NatsBus
from driftsonde.core.events import Event
from driftsonde.core.service import service_main
from driftsonde.notifier.app import app
from driftsonde.notifier.schema import MIGRATIONS
from driftsonde.notifier.settings import NotifierSettings

from .support import SECRET, Server, detected

NATS = Path(sys.executable).with_name("nats-server")
MODULE = [sys.executable, "-m", "driftsonde.notifier"]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[str]:
    """The URL of a running nats-server."""
    port = free_port()
    file = tmp_path / "nats.conf"
    file.write_text(f'host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: "{tmp_path}/js", sync_interval: always }}\n')
    with subprocess.Popen([NATS, "-c", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield f"nats://127.0.0.1:{port}"
        process.terminate()


def environment(tmp_path: Path, **extra: str) -> dict[str, str]:
    """Return a working environment; the configuration's channel is Slack at the address in `hook`."""
    config = {
        "monitors": [{"name": "churn", "drops": "s3://acme/in/", "baseline": "s3://acme/train/", "notify": ["ops"]}],
        "channels": {"ops": {"type": "slack", "webhook_file": str(tmp_path / "hook"), "allow_private": True}},
    }
    (tmp_path / "driftsonde.yaml").write_text(json.dumps(config))
    (tmp_path / "hook").write_text("https://127.0.0.1:1/")
    mine = {"CONFIG": str(tmp_path / "driftsonde.yaml"), "DATABASE_URL": f"sqlite:///{tmp_path}/n.db", "PORT": str(free_port()), **extra}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTSONDE_")}
    return clean | {f"DRIFTSONDE_{name}": value for name, value in mine.items()}


@contextlib.asynccontextmanager
async def running(env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the process; it is killed when the test failed before it ended."""
    process = await asyncio.create_subprocess_exec(*MODULE, env=env, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def answers(url: str, status: int) -> str:
    """Wait until an address answers with a status; return the text."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(15):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.get(url)
                if answer.status_code == status:
                    return answer.text
            await asyncio.sleep(0.05)


async def test_event_on_real_bus_reaches_slack_and_process_stops(tmp_path: Path, nats: str, server: Server) -> None:
    env = environment(tmp_path, BUS_URL=nats)
    (tmp_path / "hook").write_text(server.url())
    base = f"http://127.0.0.1:{env['DRIFTSONDE_PORT']}"
    finished: list[Event] = []

    async def note(event: Event) -> str:
        finished.append(event)
        return "noted"

    bus = NatsBus(nats)
    bus.subscribe("test", ["delivery.finished"], note)
    async with bus.running(), running(env) as process:
        await answers(f"{base}/readyz", 200)
        fact = Event.of(detected(), time=datetime.now(UTC))
        await bus.publish(fact)
        await bus.publish(fact, attempt=1)
        async with asyncio.timeout(10):
            while not (server.requests and finished):
                await asyncio.sleep(0.05)
        metrics = await answers(f"{base}/metrics", 200)
        assert await answers(f"{base}/livez", 200) == "ok\n"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):
            _, log = await process.communicate()
        assert process.returncode == 0, log.decode()
    assert len(server.requests) == 1
    assert server.texts()[0].startswith("Drift: churn")
    assert (finished[0].data.monitor, finished[0].model_dump()["data"]["outcome"]) == ("churn", "delivered")
    assert 'driftsonde_notifier_delivery_tries_total{channel="ops",outcome="delivered"} 1.0' in metrics
    assert 'driftsonde_notifier_channel_refused{channel="ops"} 0.0' in metrics
    assert "SECRET" not in log.decode() + metrics


async def test_process_without_bus_is_alive_not_ready_and_stops(tmp_path: Path) -> None:
    env = environment(tmp_path, BUS_URL=f"nats://127.0.0.1:{free_port()}")
    async with running(env) as process:
        base = f"http://127.0.0.1:{env['DRIFTSONDE_PORT']}"
        await answers(f"{base}/livez", 200)
        await answers(f"{base}/readyz", 503)
        async with httpx.AsyncClient(trust_env=False, base_url=base) as client:
            assert (await client.post("/api/silences", json={"monitor": "churn", "for": "1h"})).status_code == 201
            evil = {"X-Forwarded-For": "203.0.113.9"}
            assert (await client.delete("/api/silences/1", headers=evil)).status_code == 403
            assert [one["monitor"] for one in (await client.get("/api/silences")).json()] == ["churn"]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):
            _, log = await process.communicate()
        assert process.returncode == 0, log.decode()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line without a process of its own: run it with arguments and extra settings, get the exit code."""

    def call(*arguments: str, **extra: str) -> int:
        for name, value in environment(tmp_path, **extra).items():
            monkeypatch.setenv(name, value)
        return service_main("notifier", "", NotifierSettings, app, arguments, migrations=MIGRATIONS)

    return call


@pytest.mark.parametrize("bus", [f"nats://user:{SECRET}@bus:4222", f"nats://{SECRET}@bus:4222", f"{SECRET}"])
def test_print_config_shows_no_secret(command: Callable[..., int], capsys: pytest.CaptureFixture[str], bus: str) -> None:
    assert command("--print-config", BUS_URL=bus, DATABASE_URL=f"postgresql://me:{SECRET}@db/x") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["port"]
    assert "SECRET" not in out + err


@pytest.mark.parametrize("token", [SECRET, f"abc:{SECRET}", f"https://{SECRET}"])
def test_print_config_shows_no_token(command: Callable[..., int], capsys: pytest.CaptureFixture[str], token: str) -> None:
    assert command("--print-config", API_TOKEN=token) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["api_token"] == "***"
    assert "SECRET" not in out + err


@pytest.mark.parametrize(
    ("channel", "key"),
    [
        ({"type": "slack", "webhook": f"https://hooks.slack.com/services/{SECRET}"}, "channels.ops.slack.webhook"),
        ({"type": "pager", "url": f"https://hooks.slack.com/services/{SECRET}"}, "channels.ops"),
    ],
)
def test_wrong_channel_exits_78_naming_its_key(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], channel: dict[str, Any], key: str
) -> None:
    environment(tmp_path)
    wrong = json.loads((tmp_path / "driftsonde.yaml").read_text()) | {"channels": {"ops": channel}}
    (tmp_path / "wrong.yaml").write_text(json.dumps(wrong))
    assert command(CONFIG=str(tmp_path / "wrong.yaml")) == 78
    out, err = capsys.readouterr()
    assert key in err
    assert "SECRET" not in out + err


def test_wrong_setting_exits_78_naming_its_key(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(PORT="many") == 78
    assert "port: Input should be a valid integer" in capsys.readouterr().err


@pytest.fixture(scope="module", autouse=True)
def short_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Processes that end by themselves, started before the first test: most of their time is importing."""
    path = tmp_path_factory.mktemp("short")
    env = environment(path)
    (path / "hook").unlink()
    imports = "import sys, driftsonde.notifier.app; print(sorted({'numpy', 'pandas', 'scipy', 'pyarrow'} & set(sys.modules)))"
    commands = {"no hook": MODULE, "imports": [sys.executable, "-c", imports]}
    with contextlib.ExitStack() as stack:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env}
        yield {name: stack.enter_context(subprocess.Popen(command, **pipes)) for name, command in commands.items()}


def test_missing_webhook_file_exits_78_naming_channel(short_lived: dict[str, subprocess.Popen[str]]) -> None:
    _, err = short_lived["no hook"].communicate(timeout=20)
    assert short_lived["no hook"].returncode == 78
    assert "channels.ops.webhook_file: cannot read " in err
    assert "/hook: No such file" in err
    assert "Traceback" not in err


def test_notifier_loads_no_numerics(short_lived: dict[str, subprocess.Popen[str]]) -> None:
    out, err = short_lived["imports"].communicate(timeout=20)
    assert (out.strip(), err) == ("[]", "")
