"""`driftsonde check`: exit codes, output for people and for programs, and what its options do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from driftsonde.core.api import Baseline, judge
from driftsonde.core.cli.check import check
from driftsonde.core.errors import DriftsondeError

APP = typer.Typer()
APP.command()(check)
COLOR = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")


def frame(rows: int = 2_000, *, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({
        "x": random.normal(size=rows) + shift,
        "c": random.choice(["red", "green"], rows, p=[0.7, 0.3]),
        "b": random.random(rows) < 0.4,
        "zip": random.choice([10_115, 80_331, 20_095], rows),
        "at": pd.date_range("2026-01-01", periods=rows, freq="h"),
    })  # fmt: skip


@dataclass
class Files:
    """Parquet files of a baseline and of windows, by name."""

    root: Path

    def __getitem__(self, name: str) -> str:
        return str(self.root / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    root = tmp_path_factory.mktemp("check")
    frame(5_000).to_parquet(root / "ref.parquet")
    (root / "ref.baseline").write_bytes(Baseline.build(frame(5_000)).data)
    windows = {
        "fine": frame(seed=1), "moved": frame(seed=2, shift=1), "few": frame(20, seed=3), "none": frame(0, seed=4),
        "missing": frame(seed=5).drop(columns="c"), "extra": frame(seed=6).assign(extra=1),
    }  # fmt: skip
    for name, window in windows.items():
        window.to_parquet(root / f"{name}.parquet")
    frame(seed=1).to_csv(root / "fine.csv", index=False)
    frame(seed=1).to_json(root / "fine.jsonl.gz", orient="records", lines=True, date_format="iso", double_precision=15)
    (root / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    (root / "tiny.csv").write_text("x\n1\n2\n")
    return Files(root)


def run(files: Files, *arguments: str, reference: str = "ref.parquet", env: dict[str, str] | None = None) -> tuple[int, str]:
    given = [files[argument] if (files.root / argument).is_file() else argument for argument in arguments]
    result = CliRunner().invoke(
        APP, ["--baseline", files[reference], *given], env={"COLUMNS": "200", "NO_COLOR": None, "FORCE_COLOR": None, **(env or {})}
    )
    if isinstance(result.exception, DriftsondeError):
        raise result.exception
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def lines(files: Files, *arguments: str, reference: str = "ref.parquet") -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(files, "--json", *arguments, reference=reference)[1].splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("windows", "code"),
    [
        (["fine.parquet"], 0), (["moved.parquet"], 3), (["missing.parquet"], 4), (["few.parquet"], 5), (["none.parquet"], 5),
        (["fine.parquet", "few.parquet"], 0), (["moved.parquet", "fine.parquet"], 3), (["moved.parquet", "missing.parquet"], 4),
        (["few.parquet", "moved.parquet"], 3),
    ],
)  # fmt: skip
def test_exit_code_tells_the_worst_window(windows: Sequence[str], code: int, files: Files) -> None:
    assert run(files, *windows)[0] == code


def test_json_has_one_line_per_window(files: Files) -> None:
    first, second = lines(files, "fine.parquet", "moved.parquet")
    assert (first["window"], first["verdict"], first["rows"]) == (files["fine.parquet"], "ok", 2_000)
    assert set(second) == {"window", "verdict", "rows", "trainable", "columns", "new_columns", "broken"}
    assert second["verdict"] == "drift"
    moved = second["columns"]["x"]
    assert (moved["status"], moved["kind"], moved["decided_by"], moved["lookback"]) == ("drift", "numeric", "ks", 1)
    assert {check["check"] for check in moved["checks"]} == {"nulls", "invalid", "outside", "ks", "psi"}
    ks = next(check for check in moved["checks"] if check["check"] == "ks")
    said = {"check", "method", "score", "threshold", "critical", "p_value", "n", "baseline_n", "interval", "bracket", "certain", "lookback"}
    assert set(ks) == said | {"drift"}
    assert ks["certain"]
    assert ks["drift"]
    assert ks["interval"][0] <= ks["score"] <= ks["interval"][1]
    assert (ks["n"], ks["baseline_n"]) == (2_000, 5_000)


def test_json_says_what_is_broken_and_new(files: Files) -> None:
    (missing,) = lines(files, "missing.parquet")
    assert (missing["verdict"], missing["broken"]) == ("untrusted", ["column c is missing"])
    assert missing["columns"]["c"]["status"] == "missing_column"
    assert lines(files, "extra.parquet")[0]["new_columns"] == ["extra"]


def test_output_for_people_names_columns_and_reasons(files: Files) -> None:
    _, out = run(files, "moved.parquet")
    assert "drift" in out
    assert "not tested: at (a time; not tested)" in out
    assert "thresholds are not calibrated" in out
    assert "column c is missing" in run(files, "missing.parquet")[1]
    assert "new column, not tested: extra" in run(files, "extra.parquet")[1]


@pytest.mark.parametrize("name", ["fine.csv", "fine.jsonl.gz"])
def test_other_formats_agree_with_a_parquet_baseline(name: str, files: Files) -> None:
    (theirs,), (ours,) = lines(files, name), lines(files, "fine.parquet")
    assert theirs["verdict"] == "ok"
    for column in ("c", "b", "zip"):
        assert theirs["columns"][column] == ours["columns"][column], column


def test_csv_baseline_agrees_with_a_parquet_baseline(files: Files) -> None:
    frame(5_000).to_csv(files.root / "ref.csv", index=False)
    from_csv, from_parquet = (lines(files, "fine.parquet", reference=name)[0]["columns"] for name in ("ref.csv", "ref.parquet"))
    assert from_csv["b"] == from_parquet["b"]
    assert from_csv["x"] == from_parquet["x"]


def test_built_baseline_is_taken_as_it_is(files: Files) -> None:
    assert lines(files, "moved.parquet", reference="ref.baseline") == lines(files, "moved.parquet")


def test_columns_choose_what_is_watched(files: Files) -> None:
    assert list(lines(files, "--columns", "x, c", "fine.parquet")[0]["columns"]) == ["x", "c"]
    ignoring = lines(files, "--ignore", "x", "moved.parquet")[0]
    assert "x" not in ignoring["columns"]
    assert ignoring["verdict"] == "ok"


def test_numbers_declared_categorical_are_levels(files: Files) -> None:
    assert lines(files, "fine.parquet")[0]["columns"]["zip"]["kind"] == "numeric"
    assert lines(files, "--categorical", "zip", "fine.parquet")[0]["columns"]["zip"]["kind"] == "categorical"
    assert lines(files, "--categorical", "zip", "fine.csv")[0]["verdict"] == "ok"


def test_lookback_adds_up_earlier_windows(files: Files) -> None:
    for index in range(8):
        frame(100, seed=20 + index, shift=0.5).to_parquet(files.root / f"small{index}.parquet")
    names = [f"small{index}.parquet" for index in range(8)]
    found = lines(files, "--columns", "x", *names)
    assert found[0]["verdict"] == "ok"
    assert found[-1]["verdict"] == "drift"
    assert found[-1]["columns"]["x"]["lookback"] > 1
    assert {line["columns"]["x"]["lookback"] for line in lines(files, "--columns", "x", "--lookback", "1", *names)} <= {None, 1}


def test_untrusted_window_is_left_out_of_later_lookbacks(files: Files) -> None:
    baseline = Baseline.build(frame(5_000))
    fine = baseline.sketch().update(frame(seed=1))
    found = lines(files, "missing.parquet", "fine.parquet")
    assert [line["verdict"] for line in found] == ["untrusted", judge(baseline, fine).word]


@pytest.mark.parametrize("backtest", ["40", "at:1d"])
def test_backtest_calibrates_thresholds(backtest: str, files: Files) -> None:
    code, out = run(files, "--backtest", backtest, "fine.parquet")
    assert code == 0
    assert "thresholds are not calibrated" not in out


def test_backtest_raises_what_alarms(files: Files) -> None:
    season = pd.concat([frame(100, seed=40 + index, shift=index % 2) for index in range(60)], ignore_index=True)
    season.to_parquet(files.root / "season.parquet")
    plain = lines(files, "--columns", "x", "moved.parquet", reference="season.parquet")[0]
    calibrated = lines(files, "--columns", "x", "--backtest", "60", "moved.parquet", reference="season.parquet")[0]
    threshold = {line["columns"]["x"]["checks"][-1]["threshold"] for line in (plain, calibrated)}
    assert plain["verdict"] == "drift"
    assert len(threshold) == 2
    assert calibrated["verdict"] != "drift"


@pytest.mark.parametrize(
    ("backtest", "message"), [("29", "at least 30 windows"), ("soon", "COLUMN:LENGTH"), ("nope:1d", "no column 'nope'")]
)
def test_backtest_that_cannot_be_done_is_explained(backtest: str, message: str, files: Files) -> None:
    with pytest.raises(DriftsondeError, match=message):
        run(files, "--backtest", backtest, "fine.parquet")


def test_path_that_cannot_be_read_is_named(files: Files) -> None:
    with pytest.raises(DriftsondeError, match=r"cannot read .*nowhere\.parquet: No such file"):
        run(files, "nowhere.parquet")
    with pytest.raises(DriftsondeError, match=r"cannot read .*no-ref\.parquet: No such file"):
        run(files, "fine.parquet", reference="no-ref.parquet")
    with pytest.raises(DriftsondeError, match=r"cannot read .*: Is a directory"):
        run(files, str(files.root))


def test_unreadable_file_is_untrusted_and_stops_nothing(files: Files) -> None:
    broken, fine = lines(files, "broken.parquet", "fine.parquet")
    assert (broken["verdict"], broken["broken"]) == ("untrusted", ["1 drop could not be read"])
    assert fine["verdict"] == "ok"


def test_reference_that_makes_no_baseline_is_explained(files: Files) -> None:
    with pytest.raises(DriftsondeError, match=r"tiny\.csv: a baseline needs at least 200 rows, this has 2"):
        run(files, "fine.parquet", reference="tiny.csv")
    with pytest.raises(DriftsondeError, match=r"ref\.parquet: there is no column 'nope'"):
        run(files, "--columns", "nope", "fine.parquet")


def test_damaged_baseline_is_explained(files: Files) -> None:
    (files.root / "damaged.baseline").write_bytes((files.root / "ref.baseline").read_bytes()[:-1])
    with pytest.raises(DriftsondeError, match=r"damaged\.baseline: sketch is damaged"):
        run(files, "fine.parquet", reference="damaged.baseline")


@pytest.mark.parametrize(("window", "code"), [("moved.parquet", 3), ("broken.parquet", 4)])
def test_installed_command_ends_with_its_exit_code(window: str, code: int, files: Files) -> None:
    command = Path(sys.executable).with_name("driftsonde")
    ended = subprocess.run(
        [command, "check", "-b", files["ref.parquet"], files[window], "--json"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert ("broken.parquet is not readable Parquet" in ended.stderr) == (code == 4)
    assert "Traceback" not in ended.stderr


def test_option_out_of_range_is_a_usage_error(files: Files) -> None:
    assert run(files, "--bins", "15", "fine.parquet")[0] == 2
    assert run(files, "--alpha", "0.5", "fine.parquet")[0] == 2


def test_no_color_is_obeyed(files: Files) -> None:
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert COLOR.search(run(files, "moved.parquet", env=terminal)[1])
    assert not COLOR.search(run(files, "moved.parquet", env={**terminal, "NO_COLOR": "1"})[1])
    assert not COLOR.search(run(files, "moved.parquet")[1])


def test_markup_in_column_names_is_shown_as_it_is(files: Files) -> None:
    odd = pd.DataFrame({"[red]x[/red]": np.arange(500.0)})
    odd.to_parquet(files.root / "odd.parquet")
    code, out = run(files, "odd.parquet", reference="odd.parquet")
    assert code == 0
    assert "[red]x[/red]" in out


def test_answer_that_binning_leaves_open_is_marked(files: Files) -> None:
    frame(seed=7, shift=0.25).to_parquet(files.root / "open.parquet")
    options = ("--columns", "x", "--bins", "16", "--lookback", "1")
    (line,) = lines(files, *options, "open.parquet")
    ks = next(check for check in line["columns"]["x"]["checks"] if check["check"] == "ks")
    assert not ks["certain"]
    assert ks["bracket"][0] < ks["critical"] <= ks["bracket"][1]
    out = run(files, *options, "open.parquet")[1]
    assert f"{ks['score']:.3f} +{ks['bracket'][1] - ks['bracket'][0]:.3f}?" in out
    assert "?: the exact score lies up to that much higher" in out
    assert "?:" not in run(files, "--columns", "x", "moved.parquet")[1]
