"""The commands that need no service: init, config check, baseline build, status, help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


def driftsonde(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "driftsonde"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env={"NO_COLOR": "1", "COLUMNS": "160"}
    )


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    path = tmp_path / "reference.parquet"
    pd.DataFrame({"x": rng.normal(size=3000), "plan": rng.choice(["a", "b"], 3000)}).to_parquet(path)
    return path


def test_help_names_every_command() -> None:
    shown = driftsonde("--help").stdout
    commands = "init check backtest budget verify baseline monitors config up demo status detector retrainer notifier"
    for command in commands.split():
        assert command in shown


def test_init_writes_a_file_that_checks(tmp_path: Path) -> None:
    assert driftsonde("init", cwd=tmp_path).returncode == 0
    checked = driftsonde("config", "check", cwd=tmp_path)
    assert checked.returncode == 0
    assert "churn: watches s3://acme-ml/churn/incoming/" in checked.stdout


def test_init_does_not_overwrite_unless_forced(tmp_path: Path) -> None:
    driftsonde("init", cwd=tmp_path)
    again = driftsonde("init", cwd=tmp_path)
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert driftsonde("init", "--force", cwd=tmp_path).returncode == 0


def test_config_mistake_exits_78_naming_key_and_value(tmp_path: Path) -> None:
    path = tmp_path / "driftsonde.yaml"
    path.write_text(
        "monitors: [{name: churn, drops: s3://acme/in/, baseline: s3://acme/b/, window: {by: time, column: ts, size: 1 fortnight}}]"
    )
    checked = driftsonde("config", "check", path)
    assert checked.returncode == 78
    assert "window" in checked.stderr
    assert "1 fortnight" in checked.stderr


def test_built_baseline_serves_check(tmp_path: Path, reference: Path) -> None:
    built = driftsonde("baseline", "build", reference, "--out", tmp_path / "b.dsk")
    assert built.returncode == 0, built.stderr
    assert "3,000 rows of 1 object" in built.stdout
    assert driftsonde("check", "--baseline", tmp_path / "b.dsk", reference).returncode == 0


def test_baseline_of_a_folder_takes_every_file(tmp_path: Path, reference: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("1.parquet", "2.parquet"):
        (folder / name).write_bytes(reference.read_bytes())
    assert "6,000 rows of 2 objects" in driftsonde("baseline", "build", folder, "-o", tmp_path / "b.dsk").stdout


def test_baseline_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    built = driftsonde("baseline", "build", tmp_path / "nowhere.parquet")
    assert built.returncode == 1
    assert "nowhere.parquet" in built.stderr


def test_status_without_a_detector_says_where_to_look() -> None:
    shown = driftsonde("status", "--url", "http://127.0.0.1:9")
    assert shown.returncode == 1
    assert "DRIFTSONDE_URL" in shown.stderr


@pytest.mark.parametrize("service", ["detector", "retrainer", "notifier"])
def test_service_commands_name_the_missing_setting(service: str) -> None:
    started = driftsonde(service)
    assert started.returncode == 78
    assert "DRIFTSONDE_" in started.stderr
    assert "database_url" in started.stderr
