"""The retrainer as a process: what it loads, what it prints, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTSONDE_")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, timeout=60, check=False)


def test_retrainer_loads_no_numerical_library() -> None:
    code = "import sys, driftsonde.retrainer.app; print(sorted({'numpy', 'pandas', 'scipy', 'pyarrow'} & set(sys.modules)))"
    assert run("-c", code).stdout.strip() == "[]"


def test_printed_configuration_shows_no_password() -> None:
    url = "postgresql://me:hunter2@db/x"
    result = run("-m", "driftsonde.retrainer", "--print-config", DRIFTSONDE_DATABASE_URL=url)
    assert result.returncode == 0
    assert "hunter2" not in result.stdout + result.stderr
    assert "db/x" in result.stdout


def test_missing_setting_exits_78_and_names_it() -> None:
    result = run("-m", "driftsonde.retrainer")
    assert result.returncode == 78
    assert "database_url" in result.stderr


def test_wrong_configuration_exits_78_naming_the_key(tmp_path: Path) -> None:
    config = tmp_path / "driftsonde.yaml"
    config.write_text("monitors: [{name: churn, drops: s3://acme/in/, baseline: s3://acme/b/, retrain: {recipe: nope}}]")
    result = run("-m", "driftsonde.retrainer", DRIFTSONDE_CONFIG=str(config), DRIFTSONDE_DATABASE_URL=f"sqlite:///{tmp_path / 'r.sqlite'}")
    assert result.returncode == 78
    assert "monitors.churn.retrain.recipe" in result.stderr
    assert "'nope'" in result.stderr
