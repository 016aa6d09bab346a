"""`driftsonde report` over the read API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from driftsonde.core.cli import report as command
from driftsonde.core.cli import verify
from driftsonde.core.errors import DriftsondeError

from .conftest import MakeRig
from .support import Rig
from .test_facts import drifted, served

APP = typer.Typer()
APP.command()(command.report)
VERIFY = typer.Typer()
VERIFY.command()(verify.verify)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(APP, arguments, catch_exceptions=False)


async def test_report_on_an_episode_verifies_over_the_api(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig()
    event = await drifted(rig)
    path = tmp_path / "report.html"
    async with served(rig) as url:
        written = await asyncio.to_thread(run, "--episode", f"churn/{event['data']['episode']}", "--url", url)
        assert written.exit_code == 0
        path.write_text(written.stdout)
        verified = await asyncio.to_thread(CliRunner().invoke, VERIFY, [str(path), "--api", url], catch_exceptions=False)
    assert written.stdout.startswith("<!doctype html>")
    assert event["data"]["sketches"]["digest"] in written.stdout
    assert f"{len(event['data']['checks'])} of {len(event['data']['checks'])} checks were computed again" in written.stdout
    assert (verified.exit_code, "checks agree." in verified.output) == (0, True)


async def test_report_on_a_window_with_a_hostile_name_is_written(rig: Rig, tmp_path: Path) -> None:
    await drifted(rig)
    windows = [row["id"] for row in rig.select("window")]
    async with served(rig) as url:
        for name in windows:
            written = await asyncio.to_thread(run, "--window", name, "--monitor", "churn", "--url", url, "--out", str(tmp_path / "w.html"))
            assert (written.exit_code, written.stdout) == (0, "")
            page = (tmp_path / "w.html").read_text()
            assert "judged again for this report, from its stored counts" in page
            assert "as the detector did" in page


async def test_timeline_is_read_page_by_page_and_newer_events_are_left_out(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from driftsonde.core.cli.remote import Detector
    from driftsonde.detector import readapi

    monkeypatch.setattr(readapi, "_PAGE", 2)
    await drifted(rig)
    known = [json.loads(row["body"])["id"] for row in rig.select("timeline")]
    newer = {"id": "0" * 32, "type": "driftsonde.v1.dream.dreamt", "data": {}}
    async with served(rig) as url:
        with Detector(url) as detector:
            assert [event.id for event in await asyncio.to_thread(detector.timeline, "churn")] == known
            answers = iter([[{**newer, "seq": 1}], []])
            monkeypatch.setattr(detector, "_get", lambda _path: type("Answer", (), {"json": lambda _self: next(answers)})())
            assert detector.timeline("churn") == []


@pytest.mark.parametrize(
    "arguments", [(), ("--episode", "churn/1", "--window", "x"), ("--window", "x"), ("--monitor", "churn"), ("--episode", "churn"), ("--episode", "churn/0")]
)  # fmt: skip
def test_half_a_question_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


async def test_what_cannot_be_written_or_asked_is_explained(rig: Rig, tmp_path: Path) -> None:
    await drifted(rig)
    async with served(rig) as url:
        for arguments, message in (
            (("-e", "churn/1", "--url", url, "-o", str(tmp_path / "no" / "x.html")), "cannot write"),
            (("-e", "other/1", "--url", url), "there is no monitor 'other'; there are: churn"),
            (("-e", "churn/9", "--url", url), "has no episode 9; it has: 1"),
            (("-w", "x", "-m", "churn", "--url", url), "has no window 'x'"),
            (("-e", "churn/1", "--url", "http://127.0.0.1:9"), "--url, --api or DRIFTSONDE_URL"),
        ):
            with pytest.raises(DriftsondeError, match=message):
                await asyncio.to_thread(run, *arguments)
