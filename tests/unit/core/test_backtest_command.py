"""`driftsonde backtest` and `budget`: another policy on windows that are there, and the arithmetic of false alarms."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from driftsonde.core.cli.backtest import KNOWN, backtest, bar, changed, read_changes
from driftsonde.core.cli.budget import budget
from driftsonde.core.config import Policy
from driftsonde.core.errors import DriftsondeError

APP = typer.Typer()
APP.command()(backtest)
APP.command("budget")(budget)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("backtest")
    random = np.random.default_rng(1)
    pd.DataFrame({"x": random.normal(size=5_000)}).to_parquet(root / "ref.parquet")
    for number, shift in enumerate([0, 0, 0.6, 0.6, 0, 0, 0]):
        pd.DataFrame({"x": random.normal(size=1_500) + shift}).to_parquet(root / f"w{number}.parquet")
    return root


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, arguments, env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def replayed(folder: Path, *options: str) -> str:
    files = [str(folder / f"w{number}.parquet") for number in range(7)]
    code, out = run("backtest", "--baseline", str(folder / "ref.parquet"), *options, *files)
    assert code == 0, out
    return out


def test_files_are_replayed_under_both_policies(folder: Path) -> None:
    out = replayed(folder, "--set", "threshold.distance=0.4,threshold.psi=2", "--set", "clear_after=2")
    rows = [line.split()[1:] for line in out.splitlines() if re.match(r"\S+/w\d", line)]
    assert rows == [["drift", "ok", "x"], ["drift", "ok", "x"]]
    assert re.search(r"present: drift from \S+w2.parquet to \S+w6.parquet", out)
    assert re.search(r"present +2 of 7 +1 +1 *\n", out)
    assert re.search(r"other +0 of 7 +0 +0 *\n", out)
    assert len([line for line in replayed(folder, "--all").splitlines() if re.match(r"\S+/w\d", line)]) == 7


def test_curve_is_drawn_as_a_picture_on_its_own(folder: Path, tmp_path: Path) -> None:
    out = replayed(folder, "--out", str(tmp_path / "curve.svg"))
    assert re.search(r"0\.1 \(today\) +28\.6% +█+", out)
    text = (tmp_path / "curve.svg").read_text()
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "today 0.1" in text
    assert not re.search(r"href|<script|<image|url\(", text)


def test_picture_that_cannot_be_written_is_explained(folder: Path) -> None:
    with pytest.raises(DriftsondeError, match=r"cannot write .*: No such file"):
        replayed(folder, "--out", str(folder / "nowhere" / "curve.svg"))


@pytest.mark.parametrize("given", ["sensitivity=3", "alpha", "=1", "threshold.ks=0.2", ""])
def test_unknown_name_is_told_the_known_ones(given: str) -> None:
    with pytest.raises(DriftsondeError, match=r"expected NAME=VALUE with one of alpha, margin, .*threshold\.distance") as caught:
        read_changes([given])
    assert all(name in str(caught.value) for name in KNOWN)


def test_every_known_name_changes_the_policy() -> None:
    policy = Policy()
    for name in KNOWN:
        value = {"alpha": "0.1", "margin": "0.25", "bad_rows": "0.5"}.get(name, "0.5" if "." in name else "7")
        assert changed(policy, read_changes([f"{name}={value}"])) != policy, name
    both = changed(policy, read_changes(["alpha=0.1, lookback=8", "thresholds.psi=0.3"]))
    assert (both.alpha, both.lookback, both.thresholds.psi, both.margin) == (0.1, 8, 0.3, policy.margin)


def test_value_that_no_configuration_takes_is_explained() -> None:
    with pytest.raises(DriftsondeError, match=r"alpha: Input should be less than or equal to 0\.2"):
        changed(Policy(), {"alpha": "0.5"})
    with pytest.raises(DriftsondeError, match=r"lookback: .*valid integer"):
        changed(Policy(), {"lookback": "many"})


def test_files_and_monitor_exclude_each_other(folder: Path) -> None:
    assert run("backtest")[0] == 2
    assert run("backtest", "--monitor", "churn", str(folder / "w0.parquet"))[0] == 2
    assert run("backtest", str(folder / "w0.parquet"))[0] == 2
    with pytest.raises(DriftsondeError, match="cannot read"):
        run("backtest", "-b", str(folder / "ref.parquet"), str(folder / "w9.parquet"))
    with pytest.raises(DriftsondeError, match="--since 'ever'"):
        run("backtest", "--monitor", "churn", "--since", "ever")
    with pytest.raises(DriftsondeError, match="does not answer at http"):
        run("backtest", "--monitor", "churn", "--api", "http://127.0.0.1:9")


def test_bar_has_the_length_of_its_share() -> None:
    assert [bar(share, 4) for share in (0, 0.125, 0.5, 1)] == ["", "▌", "██", "████"]


def test_budget_shows_its_arithmetic_and_the_line_to_paste() -> None:
    code, out = run("budget", "--false-alarms", "1", "--window", "1d", "--monitors", "3")
    assert code == 0
    assert "91.3125 days / 1d x 3 monitors = 273.9" in out
    assert "0.00365 / (5 x 50 columns x 6 look-backs) = 2.43e-06" in out
    assert "policy: {alpha: 0.00365}" in out
    assert re.search(r"n = +10,000 +0\.100 +the threshold itself", out)
    assert "stays at 0.2" in run("budget", "--false-alarms", "1000", "--window", "1d")[1]
    assert "policy: {alpha: 0.0109, lookback: 8}" in run("budget", "--false-alarms", "1", "--window", "1d", "--lookback", "8")[1]


@pytest.mark.parametrize(
    "wrong", [("--false-alarms", "0", "--window", "1d"), ("--false-alarms", "1", "--window", "soon"), ("--window", "1d")]
)
def test_budget_that_means_nothing_is_a_usage_error(wrong: tuple[str, ...]) -> None:
    assert run("budget", *wrong)[0] == 2
