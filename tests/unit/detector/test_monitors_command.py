"""`driftsonde monitors list` and `status`: what is configured, beside what a detector says of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from driftsonde.core.cli.monitors import list_
from driftsonde.core.cli.status import status
from driftsonde.core.lifecycle import serve_http
from driftsonde.detector.readapi import routes

from .support import BUCKET, GARBAGE, Rig, config, drop_body

APP = typer.Typer()
APP.command("list")(list_)
APP.command("status")(status)

FILE = """
monitors:
  - {name: churn, drops: "s3://acme/in/", baseline: "s3://acme/base/", notify: [ml-oncall], retrain: {recipe: xgb},
     window: {by: time, column: ts, size: 36h}}
  - {name: fraud, drops: "s3://acme/[fraud]/", baseline: {learn: 3}, window: {by: rows, size: 100000}}
recipes: {xgb: {role: "arn:aws:iam::123456789012:role/jobs", output: "s3://acme/out/"}}
channels: {ml-oncall: {type: slack, webhook_file: /run/secrets/slack}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "driftsonde.yaml"
    path.write_text(FILE)
    return str(path)


def run(*arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(APP, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


async def answered(rig: Rig, *arguments: str) -> str:
    """Run a command beside the read API; returns what it says."""
    async with serve_http(routes(rig.database, rig.config), "127.0.0.1", 0) as port:
        return (await asyncio.to_thread(run, *arguments, "--url", f"http://127.0.0.1:{port}"))[0]


def cells(out: str, monitor: str) -> list[str]:
    (line,) = (line for line in out.splitlines() if line.startswith(monitor))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


async def drifting(rig: Rig) -> Rig:
    await rig.adopt()
    await rig.take(rig.put("in/1", drop_body()), rig.put("in/2", GARBAGE), rig.put("in/3", drop_body(200, 1.0)))
    await rig.ingest.drop(rig.monitor, rig.put("in/4", drop_body()), later=True)
    await rig.evaluated()
    return rig


async def test_list_shows_what_is_configured_and_what_became_of_it(rig: Rig, file: str) -> None:
    await drifting(rig)
    out = await answered(rig, "list", "--config", file)
    assert cells(out, "churn") == [
        "churn", "s3://acme/in/", "v1, 4,000 rows", "36h", "drift 2026-03-01 12:00", "2 / 1 / 1", "1 drift, 2 untrusted", "xgb", "ml-oncall",
    ]  # fmt: skip
    assert cells(out, "fraud") == ["fraud", "s3://acme/[fraud]/", "learn 3", "100,000 rows", "?", "?", "?", "-", "-"]


async def test_progress_of_learning_is_shown(file: str, tmp_path: Path) -> None:
    rig = Rig(f"sqlite:///{tmp_path}/learning.db", config(baseline={"learn": 3}))
    await rig.database.run(rig.builder._request_configured)
    await rig.take(rig.put("in/1", drop_body(20)), rig.put("in/2", drop_body(20)))
    assert cells(await answered(rig, "list", "--config", file), "churn")[2:5] == ["learning 2 of 3", "36h", "-"]
    assert "churn  baseline learning 2 of 3\n  drops: 2 pending" in await answered(rig, "status")
    await rig.take(rig.put("in/3", drop_body(20)))
    assert not await rig.builder.build_one()
    assert cells(await answered(rig, "list", "--config", file), "churn")[2].startswith(
        "learning 3 of 3: a baseline needs at least 200 rows"
    )
    rig.close()


async def test_baseline_that_cannot_be_built_is_shown_with_its_reason(rig: Rig, file: str) -> None:
    await rig.database.run(rig.builder._request_configured)
    assert cells(await answered(rig, "list", "--config", file), "churn")[2] == "building"
    assert not await rig.builder.build_one()
    assert cells(await answered(rig, "list", "--config", file), "churn")[2].startswith("building: there is no object")


async def test_json_holds_both_halves(rig: Rig, file: str) -> None:
    await drifting(rig)
    churn, fraud = json.loads(await answered(rig, "list", "--config", file, "--json"))
    assert churn["detector"]["latest"] == {"window": f"s3://{BUCKET}/in/3", "verdict": "drift", "judged_at": "2026-03-01T12:00:00+00:00"}
    assert (churn["recipe"], churn["channels"], churn["window"]["by"]) == ("xgb", ["ml-oncall"], "time")
    assert (fraud["baseline"]["learn"], fraud["detector"]) == (3, None)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_list_without_a_detector_says_so_and_shows_the_file(file: str, options: tuple[str, ...]) -> None:
    out, err = run("list", "--config", file, "--url", "http://127.0.0.1:9", *options)
    assert "the detector does not answer at http://127.0.0.1:9" in err
    assert "DRIFTSONDE_URL" in err
    if options:
        listed: list[dict[str, Any]] = json.loads(out)
        assert [(monitor["name"], monitor["detector"]) for monitor in listed] == [("churn", None), ("fraud", None)]
    else:
        assert cells(out, "churn")[:5] == ["churn", "s3://acme/in/", "s3://acme/base/", "36h", "?"]
