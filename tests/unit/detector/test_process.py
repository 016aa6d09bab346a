"""The process: it judges while the bus is away, stops when asked, and says what is wrong with its settings."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from driftsonde.core.lifecycle import Health, enter_or_stop, wait_or_stop
from driftsonde.core.local.stack import free_port

CONFIG = """
monitors:
  - {name: churn, drops: "s3://acme/in/", baseline: "s3://acme/base/"}
"""


@pytest.fixture
def environment(tmp_path: Path, emulator: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The environment of a detector whose bus is away; returns its port."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    port = free_port()
    variables = {
        "AWS_ENDPOINT_URL": emulator, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "DRIFTSONDE_CONFIG": str(tmp_path / "c.yaml"), "DRIFTSONDE_DATABASE_URL": f"sqlite:///{tmp_path}/d.db",
        "DRIFTSONDE_BUS_URL": f"nats://127.0.0.1:{free_port()}", "DRIFTSONDE_PORT": str(port), "DRIFTSONDE_POLL_SECONDS": "0",
        "DRIFTSONDE_QUEUE_URL": f"{emulator}/000000000000/none", "DRIFTSONDE_DEAD_LETTER_URL": f"{emulator}/000000000000/none",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return port


def detector() -> subprocess.Popen[str]:
    """Start a detector."""
    return subprocess.Popen([sys.executable, "-m", "driftsonde.detector"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


async def answer(url: str) -> tuple[int, str]:
    """Ask until there is an answer."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(get)
            await asyncio.sleep(0.1)


async def test_detector_lives_without_a_bus_and_stops_when_asked(environment: int) -> None:
    process = detector()
    try:
        status, text = await answer(f"http://127.0.0.1:{environment}/livez")
        assert (status, text) == (200, "ok\n")
        async with asyncio.timeout(20):
            while "bus: not connected yet" not in (await answer(f"http://127.0.0.1:{environment}/readyz"))[1]:
                await asyncio.sleep(0.1)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("setting", "status"), [("true", 200), ("false", 404)])
async def test_console_is_served_unless_it_is_switched_off(
    environment: int, setting: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTSONDE_CONSOLE", setting)
    process = detector()
    try:
        found, text = await answer(f"http://127.0.0.1:{environment}/")
        assert found == status
        assert ("<title>Monitors" in text) == (status == 200)
        async with asyncio.timeout(20):  # of a queue that is not there, as the page says
            while status == 200 and "SQS does not answer" not in text:
                await asyncio.sleep(0.1)
                _, text = await answer(f"http://127.0.0.1:{environment}/")
        assert (await answer(f"http://127.0.0.1:{environment}/api/monitors"))[0] == 200
        process.terminate()
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        process.communicate()


def test_missing_setting_is_named_with_exit_code_78(environment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTSONDE_QUEUE_URL")
    process = detector()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 78
    assert "queue_url" in output


class Door(contextlib.AbstractAsyncContextManager[None]):
    """A context that opens when `key` is set, or breaks."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.key, self.seen, self._error = asyncio.Event(), list[str](), error

    async def __aenter__(self) -> None:
        if self._error:
            raise self._error
        await self.key.wait()
        self.seen.append("in")

    async def __aexit__(self, *_: object) -> None:
        self.seen.append("out")


async def test_context_that_never_opens_is_left_at_stop() -> None:
    stop, door = asyncio.Event(), Door()
    asyncio.get_running_loop().call_later(0.05, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        assert not await enter_or_stop(stack, door, stop)
    assert door.seen == []


async def test_context_that_opens_is_left_with_the_stack() -> None:
    door = Door()
    door.key.set()
    async with contextlib.AsyncExitStack() as stack:
        assert await enter_or_stop(stack, door, asyncio.Event())
        assert door.seen == ["in"]
    assert door.seen == ["in", "out"]


async def test_error_while_opening_is_raised() -> None:
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(ZeroDivisionError):
            await enter_or_stop(stack, Door(error=ZeroDivisionError()), asyncio.Event())


async def test_wait_ends_at_any_of_its_events() -> None:
    stop, other = asyncio.Event(), asyncio.Event()
    other.set()
    async with asyncio.timeout(1):
        await wait_or_stop(stop, 60, other)
    async with asyncio.timeout(1):
        await wait_or_stop(stop, 0.01)


def test_reported_problem_makes_a_service_unready() -> None:
    health = Health()
    health.started()
    health.report("bus", "away")
    assert health.problems() == ["bus: away"]
    health.report("bus", None)
    assert health.problems() == []
