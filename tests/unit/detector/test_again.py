"""`driftsonde replay windows`: windows judged again from what is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from driftsonde.core.cli.replay import windows
from driftsonde.core.errors import ConfigError, DriftsondeError

from .conftest import MakeRig
from .support import BUCKET, HOUR, NOON, Rig, baseline_body, drop_body

APP = typer.Typer()
APP.command()(windows)
MILD = {"thresholds": {"distance": 0.9, "psi": 9, "nulls": 1, "outside": 1, "invalid": 1}, "lookback": 1, "clear_after": 2}


def run(rig: Rig, *options: str, monitor: str = "churn") -> str:
    result = CliRunner().invoke(APP, ["--database-url", rig.url, "--monitor", monitor, *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def marked(rig: Rig) -> list[str]:
    return [row["window"].removeprefix(f"s3://{BUCKET}/in/") for row in rig.select("dirty")]


async def judged(rig: Rig) -> Rig:
    """Judge four windows, of which the third and fourth drift."""
    await rig.adopt()
    for number, shift in enumerate([0.0, 0.0, 1.0, 1.0]):
        await rig.take(rig.put(f"in/{number}", drop_body(200, shift, number)))
    await rig.evaluated()
    return rig


async def test_changed_policy_revises_the_verdicts_that_it_changes(make_rig: MakeRig) -> None:
    rig = await judged(make_rig(policy={"lookback": 1, "clear_after": 2}))
    assert rig.verdicts() == {"0": "ok", "1": "ok", "2": "drift", "3": "drift"}
    other = make_rig(policy=MILD)
    assert run(other) == "4 windows will be judged again\n"
    await other.judge.sweep()
    assert other.verdicts() == dict.fromkeys("0123", "ok")
    assert marked(other) == []
    revised = [(fact["window"]["id"][-1], fact["before"], fact["after"]) for fact in other.facts("verdict.revised")]
    assert revised == [("2", "drift", "ok"), ("3", "drift", "ok")]
    assert [cause for *_, cause in other.episodes()] == ["revised"]


async def test_same_policy_changes_nothing(make_rig: MakeRig) -> None:
    rig = await judged(make_rig())
    before: list[Any] = [rig.select("window"), rig.select("episode"), rig.select("outbox")]
    run(rig)
    await rig.judge.sweep()
    assert [rig.select("window"), rig.select("episode"), rig.select("outbox")] == before


async def test_dry_run_only_counts(make_rig: MakeRig) -> None:
    rig = await judged(make_rig())
    assert run(rig, "--dry-run") == "4 windows found\n"
    assert marked(rig) == []


async def test_windows_from_one_on_are_marked_those_of_later_baselines_too(make_rig: MakeRig) -> None:
    rig = await judged(make_rig())
    await rig.promote(baseline_body(7, 1.0))
    await rig.take(rig.put("in/0-new", drop_body(), at=NOON - HOUR))  # earlier than the others, but of the next baseline
    await rig.evaluated()
    assert run(rig, "--from", f"s3://{BUCKET}/in/2") == "3 windows will be judged again\n"
    assert marked(rig) == ["0-new", "2", "3"]


async def test_windows_that_began_long_ago_are_left_alone(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await judged(make_rig())
    monkeypatch.setattr("driftsonde.core.cli.replay._before", lambda _: NOON + timedelta(minutes=3))
    run(rig, "--since", "24h")
    assert marked(rig) == ["2", "3"]


async def test_windows_by_rows_begin_with_their_first_drop(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await judged(make_rig(window={"by": "rows", "size": 200}))
    monkeypatch.setattr("driftsonde.core.cli.replay._before", lambda _: NOON + timedelta(minutes=3))
    assert run(rig, "--since", "24h") == "2 windows will be judged again\n"
    assert [int(name) for name in marked(rig)] == [3, 4]


async def test_mistakes_are_named(make_rig: MakeRig, tmp_path: Any) -> None:
    rig = await judged(make_rig())
    with pytest.raises(DriftsondeError, match="'typo' has no window that was judged"):
        run(rig, monitor="typo")
    with pytest.raises(DriftsondeError, match="'churn' has no window 's3://acme/in/9'"):
        run(rig, "--from", "s3://acme/in/9")
    assert "either --since or --from" in run(rig, "--from", "x", "--since", "1d")
    with pytest.raises(ConfigError, match="expected the state of a service"):
        CliRunner().invoke(
            APP, ["--database-url", f"sqlite:///{tmp_path}/other.db", "--monitor", "churn"], catch_exceptions=False
        )  # fmt: skip
    assert marked(rig) == []
