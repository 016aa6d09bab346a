"""What an event says can be computed again: from itself, from the detector's read API, and with twenty lines of numpy."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from driftsonde.core.api import Baseline, Parameters, judge
from driftsonde.core.cli import backtest
from driftsonde.core.cli import verify as command
from driftsonde.core.cli.remote import Detector
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.events import MAX_BYTES, Alarm, BaselineRef, DriftDetected, Event, FailingCheck, WindowRef, parse_event
from driftsonde.core.lifecycle import serve_http
from driftsonde.core.verifying import Stored, verify
from driftsonde.detector.facts import announce
from driftsonde.detector.readapi import routes

from .conftest import MakeRig
from .support import BUCKET, GARBAGE, NOON, Rig, baseline_body, drop_body

APP = typer.Typer()
APP.command()(command.verify)
BACKTEST = typer.Typer()
BACKTEST.command()(backtest.backtest)
DOCUMENT = Path(__file__).parents[3] / "docs" / "statistics.md"


def frame(rows: int, *, seed: int, change: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    plain = random.normal(size=rows) + 3 * change
    return pd.DataFrame({
        "smooth": plain,
        "few": random.integers(0, 6, rows) + 3 * (random.random(rows) < change),
        "nulls": np.where(random.random(rows) < change, np.nan, plain),
        "infinite": np.where(random.random(rows) < change / 2, np.inf, plain),
        "level": random.choice([*"abc"], rows, p=[0.6 - change, 0.3 + change, 0.1]),
        "unseen": np.where(random.random(rows) < change, "new", random.choice([*"xy"], rows)),
    })  # fmt: skip


def said(baseline: Baseline, windows: list[pd.DataFrame], parameters: Parameters | None = None) -> tuple[Alarm, Stored]:
    """Return the event of the last of some windows, as it arrives, and what it was computed from."""
    rules = parameters or Parameters()
    sketches = [baseline.sketch().update(window) for window in windows]
    tables = [sketch.table for sketch in sketches]
    window, reference = (
        WindowRef(id="s3://acme/in/1", rows=sketches[-1].rows),
        BaselineRef(version=1, digest=baseline.digest, rows=baseline.rows),
    )
    fact = announce("churn", 1, judge(baseline, sketches, rules), window, baseline, reference, tables, (), rules)
    arrived = parse_event(Event.of(fact, time=datetime(2026, 3, 1, tzinfo=UTC)).to_json()).data
    assert isinstance(arrived, Alarm)
    return arrived, Stored(baseline, tables)


@cache
def accepted() -> Baseline:
    return Baseline.build(frame(3_000, seed=99), bins=64)


@cache
def example(seed: int = 0, change: float = 0.3, small: bool = False) -> tuple[Alarm, Stored]:
    sizes = [150, 150, 150, 150] if small else [1_000]
    return said(accepted(), [frame(rows, seed=10 * seed + place, change=change) for place, rows in enumerate(sizes)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("change", [0.2, 0.3])
@pytest.mark.parametrize("small", [False, True])
def test_event_verifies_from_its_own_counts(seed: int, change: float, small: bool) -> None:
    alarm, stored = example(seed, change, small)
    findings = verify(alarm)
    assert len(findings) == alarm.failing
    assert all(finding.recomputed is not None and not finding.wrong for finding in findings), findings
    assert {finding.how for finding in findings} <= {"from the event"}
    assert {finding.how for finding in verify(alarm, stored)} <= {"from the event, as stored"}
    assert not any(finding.wrong for finding in verify(alarm, stored))


def test_examples_hold_every_kind_of_check() -> None:
    alarm, _ = example()
    assert {check.check for check in alarm.checks} == {"ks", "tv", "psi", "nulls", "outside", "invalid"}
    assert any(check.single_valued for check in alarm.checks)
    assert max(check.lookback for check in example(0, 0.2, small=True)[0].checks) > 1


@pytest.mark.parametrize("field", ["score", "critical", "p_value", "threshold", "n", "baseline_n", "interval", "bracket", "certain"])
def test_altered_number_is_caught(field: str) -> None:
    alarm, stored = example()
    for place, check in enumerate(alarm.checks):
        value = getattr(check, field)
        if value is None:
            continue
        other = altered_value(field, value)
        # One more value of the baseline may change no figure that is said: then only what is stored tells.
        found = verify(changed(alarm, place, {field: other}), stored if field == "baseline_n" else None)
        assert other == value or [finding.column for finding in found if finding.wrong] == [check.column], (check.check, field)


def altered_value(field: str, value: Any) -> Any:
    if field == "certain":
        return not value
    if isinstance(value, tuple):
        return value[0], value[1] + 1e-6
    return value + 1 if field.endswith("n") else value * 1.5


def test_altered_count_is_caught() -> None:
    alarm, _ = example()
    for place, check in enumerate(alarm.checks):
        for field in ("counted", "baseline_counted", "window_counts", "baseline_counts"):
            value = getattr(check, field)
            if value is None or (check.check == "outside" and field == "baseline_counted"):
                continue
            for bin_ in range(0, len(value), 7) if isinstance(value, tuple) else [0]:
                other = (*value[:bin_], value[bin_] + 1, *value[bin_ + 1 :]) if isinstance(value, tuple) else value + 1
                found = verify(changed(alarm, place, {field: other}))
                assert [finding.check for finding in found if finding.wrong] == [check.check], (check.check, field, bin_)


def test_value_moved_to_the_next_bin_is_caught_by_what_is_stored() -> None:
    alarm, stored = example()
    place = next(place for place, check in enumerate(alarm.checks) if check.check == "ks")
    counts = alarm.checks[place].window_counts
    assert counts is not None
    moved = changed(alarm, place, {"window_counts": (*counts[:30], counts[30] - 1, counts[31] + 1, *counts[32:])})
    assert "its counts are not those that are stored" in verify(moved, stored)[place].wrong


def changed(alarm: Alarm, place: int, values: dict[str, Any]) -> Alarm:
    checks = list(alarm.checks)
    checks[place] = checks[place].model_copy(update=values)
    return alarm.model_copy(update={"checks": tuple(checks)})


@cache
def wide() -> tuple[Alarm, Stored]:
    """An event of 500 columns that all fail, over 1,024 bins."""
    random = np.random.default_rng(1)
    names = [f"a_column_with_quite_a_long_name_{number:03}" for number in range(500)]
    before = pd.DataFrame(random.normal(size=(20_000, 10)) @ np.ones((10, 500)) + random.normal(size=(20_000, 500)), columns=names)
    return said(Baseline.build(before, bins=1_024), [before.head(3_000) + 3])


def test_event_of_500_failing_columns_stays_small() -> None:
    alarm, _ = wide()
    body = Event.of(alarm, time=datetime(2026, 3, 1, tzinfo=UTC)).to_json()
    assert 100_000 < len(body) <= MAX_BYTES
    assert alarm.failing is not None
    assert alarm.failing >= 1_000
    assert len(alarm.columns) == 500
    assert (len(alarm.checks), len(alarm.more)) == (20, 500)
    assert alarm.checks[0].has_counts
    assert sum(check.has_counts for check in alarm.checks) >= 10


def test_checks_without_counts_verify_from_what_is_stored() -> None:
    alarm, stored = wide()
    alone, with_them = verify(alarm), verify(alarm, stored)
    left = [finding for finding in alone if finding.recomputed is None]
    assert len(left) > 500
    assert {finding.why for finding in left} == {"the event does not carry its counts; --api, or --baseline and --window, give them"}
    assert all(finding.recomputed is not None and not finding.wrong for finding in with_them)
    assert {finding.how for finding in with_them} == {"from stored sketches", "from the event, as stored"}
    listed = alarm.model_copy(update={"more": (alarm.more[0].model_copy(update={"score": alarm.more[0].score + 1e-6}), *alarm.more[1:])})
    assert [finding.column for finding in verify(listed, stored) if finding.wrong] == [alarm.more[0].column]


def test_other_windows_or_baseline_prove_nothing() -> None:
    alarm, stored = wide()
    few = alarm.model_copy(update={"checks": alarm.checks[:1], "more": alarm.more[:1]})
    other = Baseline.build(frame(500, seed=1))
    found = verify(few, Stored(other, [other.sketch().table]))
    assert "the event was judged against" in found[-1].why
    found = verify(few, Stored(stored.baseline, [stored.windows[0] + stored.windows[0]]))
    assert "not those that were judged" in found[-1].why
    assert not any(finding.wrong for finding in found)


def test_numpy_of_the_document_gives_what_events_say(tmp_path: Path) -> None:
    section = DOCUMENT.read_text().partition("## Recompute a verdict yourself")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    assert len(found[1].splitlines()) <= 23
    alarm, _ = example(0, 0.3)
    (tmp_path / "event.json").write_bytes(Event.of(alarm, time=datetime(2026, 3, 1, tzinfo=UTC)).to_json())
    ended = subprocess.run([sys.executable, "-c", found[1]], cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = [json.loads(line) for line in ended.stdout.splitlines()]
    expected = [check for check in alarm.checks if check.check == "ks"]
    assert len(printed) == len(expected) > 1
    for (column, score, upper, critical, p_value, certain), check in zip(printed, expected, strict=True):
        assert (column, certain) == (check.column, check.certain)
        assert check.bracket is not None
        assert (score, upper, critical) == pytest.approx((check.score, check.bracket[1], check.critical), abs=1e-9)
        assert p_value == pytest.approx(check.p_value, rel=1e-9)


@asynccontextmanager
async def served(rig: Rig) -> AsyncIterator[str]:
    """Serve the read API; gives its address."""
    async with serve_http(routes(rig.database, rig.config), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def drifted(rig: Rig) -> dict[str, Any]:
    """Let small drops drift slowly, one of them in two parts' time; returns the event as the timeline has it."""
    await rig.adopt(baseline_body())
    for number, body in enumerate([drop_body(150), GARBAGE, *(drop_body(60, 0.9, seed) for seed in range(3))]):
        await rig.take(rig.put(f"in/{number:02}?a b%", body))
        await rig.evaluated()
    await rig.say()
    return next(json.loads(row["body"]) for row in rig.select("timeline") if row["type"] == "drift.detected")


async def test_read_api_gives_the_windows_that_were_judged(make_rig: MakeRig) -> None:
    rig = make_rig()
    event = await drifted(rig)
    alarm = parse_event(json.dumps(event).encode()).data
    assert isinstance(alarm, DriftDetected)
    assert alarm.sketches is not None
    short = {"column", "check", "score", "threshold", "critical", "lookback"}
    more = tuple(FailingCheck(**check.model_dump(include=short)) for check in alarm.checks)
    bare = alarm.model_copy(update={"more": more, "checks": ()})
    async with served(rig) as url:

        def look() -> Stored:
            with Detector(url) as detector:
                baseline = detector.baseline("churn", 1)
                return Stored(baseline, detector.lookback(alarm.sketches.link if alarm.sketches else "", baseline))

        stored = await asyncio.to_thread(look)
        assert len(stored.windows) == alarm.sketches.windows > 2
        assert all(finding.how == "from stored sketches" and not finding.wrong for finding in verify(bare, stored))
        assert all(finding.how == "from the event, as stored" and not finding.wrong for finding in verify(alarm, stored))


async def test_read_api_pages_through_windows(rig: Rig) -> None:
    await drifted(rig)
    async with served(rig) as url:

        def look() -> list[str]:
            with Detector(url) as detector:
                listed = [window["id"] for window in detector.windows("churn")]
                baseline = detector.baseline("churn", 1)
                first = detector._get(
                    f"/api/monitors/churn/sketches?from={listed[0].replace('%', '%25').replace('?', '%3F')}&limit=2"
                ).json()
                assert ([window["id"] for window in first["windows"]], first["next"]) == (listed[:2], listed[2])
                found = [window.name for window in detector.windows_from("churn", listed[1], baseline)]
                assert found == listed[1:]
                return found

        assert len(await asyncio.to_thread(look)) == 4


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/monitors/churn/sketches", "400 expected either window=ID"), ("/api/monitors/churn/sketches?from=x&limit=0", "400 lookback, limit"),
        ("/api/monitors/churn/sketches?window=x&lookback=many", "400 lookback, limit"), ("/api/monitors/churn/sketches?window=x", "404 there is no such window"),
        ("/api/monitors/churn/sketches?from=x", "404 there is no such window"), ("/api/monitors/churn/baselines/7", "404 monitor 'churn' has no baseline 7"),
        ("/api/nothing", "404 Not Found"),
    ],
)  # fmt: skip
async def test_read_api_explains_what_it_refuses(path: str, message: str, rig: Rig) -> None:
    async with served(rig) as url:
        with pytest.raises(DriftsondeError, match=message):
            await asyncio.to_thread(lambda: Detector(url)._get(path))


async def test_command_verifies_an_event_over_the_api(rig: Rig, tmp_path: Path) -> None:
    event = await drifted(rig)
    fair, altered = tmp_path / "fair.json", tmp_path / "altered.json"
    fair.write_text(json.dumps({"seq": 3, **event}))
    event["data"]["checks"][0]["window_counts"][5] += 1
    altered.write_text(json.dumps(event["data"]))
    async with served(rig) as url:
        good, bad = [await asyncio.to_thread(run, "--api", url, str(path)) for path in (fair, altered)]
    assert good.exit_code == 0
    assert "checks agree." in good.output
    assert bad.exit_code == 1
    assert re.search(r"x (psi|ks): its counts are not those that are stored", bad.output)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(APP, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)


async def test_backtest_under_the_present_policy_says_what_was_said(rig: Rig) -> None:
    await rig.adopt()
    for number, shift in enumerate([0, 0, 1, 1, 0, 0, 0.3, 0.3, 0.3, 0.3, 0]):
        await rig.take(rig.put(f"in/{number:02}", GARBAGE if number == 5 else drop_body(300, shift, number)))
        await rig.evaluated()
    expected = {row["id"]: row["verdict"] for row in rig.select("window")}
    assert {"ok", "drift", "untrusted"} <= set(expected.values())
    async with served(rig) as url:
        policy, series = await asyncio.to_thread(backtest._stored, url, "churn", "9000d", {})
        late = await asyncio.to_thread(lambda: list(backtest._series(Detector(url), "churn", NOON + timedelta(minutes=8, seconds=30), 3)))
    done = backtest.run(series, policy)
    assert {outcome.window: outcome.word for outcome in done.outcomes} == expected
    assert [(episode.kind, episode.opened) for episode in done.episodes] == [(row["kind"], row["opened"]) for row in rig.select("episode")]
    assert late[0].warm == 4, "three trusted ones, and the untrusted one among them"
    names = [f"s3://{BUCKET}/in/{number:02}" for number in range(8, 11)]
    assert {outcome.window: outcome.word for outcome in backtest.run(late, policy).outcomes} == {name: expected[name] for name in names}


async def test_backtest_command_reads_the_detector(rig: Rig) -> None:
    await drifted(rig)
    async with served(rig) as url:
        arguments = ("--monitor", "churn", "--api", url, "--since", "9000d", "--set", "threshold.distance=0.9", "--set", "threshold.psi=9")
        found = await asyncio.to_thread(lambda: CliRunner().invoke(BACKTEST, arguments, env={"COLUMNS": "200"}, catch_exceptions=False))
        with pytest.raises(DriftsondeError, match="there is no monitor 'gone'; there are: churn"):
            await asyncio.to_thread(lambda: CliRunner().invoke(BACKTEST, ["--monitor", "gone", "--api", url], catch_exceptions=False))
    assert found.exit_code == 0
    assert re.search(r"present +3 of 5 +2 +1 *\n", found.output), found.output
    assert re.search(r"other +1 of 5 +1 +0 *\n", found.output), found.output


async def test_window_of_several_drops_is_given_as_one_sketch(make_rig: MakeRig) -> None:
    rig = await make_rig(window={"by": "rows", "size": 300}).adopt()
    await rig.take(*(rig.put(f"in/{number}", drop_body(100, 1.0, number)) for number in range(6)))
    await rig.evaluated()
    (event,) = rig.facts("drift.detected")
    alarm = DriftDetected.model_validate(event)
    assert alarm.window.rows == 300
    async with served(rig) as url:
        stored = await asyncio.to_thread(command._stored, alarm, url)
    assert len(rig.parts()) == 6
    assert {finding.how for finding in verify(alarm, stored)} == {"from the event, as stored"}


@cache
def saved(folder: Path) -> dict[str, str]:
    """Write an event of two windows, its baseline and its data; returns their paths by name."""
    random = np.random.default_rng(3)
    baseline = Baseline.build(pd.DataFrame({"x": random.normal(size=3_000)}))
    windows = [pd.DataFrame({"x": random.normal(size=150) + 0.9}) for _ in range(2)]
    alarm, _ = said(baseline, windows)
    assert max(check.lookback for check in alarm.checks) == 1 or alarm.sketches is not None
    files = {"event": Event.of(alarm, time=datetime(2026, 3, 1, tzinfo=UTC)).to_json(), "baseline": baseline.data}
    brief = [
        FailingCheck(**check.model_dump(include={"column", "check", "score", "threshold", "critical", "lookback"}))
        for check in alarm.checks
    ]
    files["bare"] = alarm.model_copy(update={"checks": (), "more": tuple(brief)}).model_dump_json().encode()
    files["other"] = b'{"specversion": "1.0", "data": {}}'
    for name, body in files.items():
        (folder / name).write_bytes(body)
    for place, window in enumerate(windows):
        window.to_parquet(folder / f"w{place}")
    (folder / "text").write_text("hello")
    (folder / "broken.parquet").write_bytes(GARBAGE)
    return {path.name: str(path) for path in folder.iterdir()}


def test_command_verifies_an_event_alone_and_from_files(tmp_path: Path) -> None:
    files = saved(tmp_path)
    alone, bare = run(files["event"]), run(files["bare"])
    assert (alone.exit_code, "from the event" in alone.output) == (0, True)
    assert (bare.exit_code, "not recomputed: x ks" in bare.output) == (1, True)
    data = ("--baseline", files["baseline"], "--window", files["w0"], "--window", files["w1"])
    measured = run(files["bare"], *data)
    assert (measured.exit_code, "from stored sketches" in measured.output) == (0, True)
    swapped = run(files["event"], "--baseline", files["baseline"], "--window", files["w1"], "--window", files["w0"])
    assert swapped.exit_code == 0, "its own counts are enough"
    assert "from the event, as stored" not in swapped.output
    piped = CliRunner().invoke(APP, ["-"], input=Path(files["event"]).read_bytes(), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert piped.output == alone.output


def test_command_says_in_one_line_what_it_cannot_read(tmp_path: Path) -> None:
    files = saved(tmp_path)
    for arguments, message in (
        ((files["text"],), "event is not JSON"),
        ((files["other"],), "event does not fit its schema|unknown event type"),
        (("nowhere.json",), "cannot read nowhere.json: No such file"),
        ((files["event"], "-b", files["text"], "-w", files["w0"]), "not a sketch|too short"),
        ((files["event"], "-b", files["baseline"], "-w", files["broken.parquet"]), "not readable Parquet"),
        ((files["event"], "--api", "localhost:8080"), "expected http://host:port"),
        ((files["event"], "--api", "http://127.0.0.1:9"), "does not answer"),
    ):
        with pytest.raises(DriftsondeError, match=message) as caught:
            run(*arguments)
        assert "\n" not in str(caught.value)
    assert run(files["event"], "--baseline", files["baseline"]).exit_code == 2
    assert run(files["event"], "--api", "http://x", "-b", files["baseline"], "-w", files["w0"]).exit_code == 2
    assert run().exit_code == 2


def test_alarm_without_checks_is_explained(tmp_path: Path) -> None:
    baseline = Baseline.build(frame(500, seed=1))
    alarm, _ = said(baseline, [frame(300, seed=2).drop(columns="level")])
    (tmp_path / "event.json").write_text(alarm.model_dump_json())
    shown = run(str(tmp_path / "event.json"))
    assert (shown.exit_code, "It carries no checks: The data cannot be trusted: column level is missing." in shown.output) == (0, True)


def test_event_from_before_events_said_their_level_is_explained() -> None:
    alarm, _ = example()
    found = verify(alarm.model_copy(update={"level": None}))
    assert {finding.why for finding in found} == {"the event does not say level and margin: it was made before events did"}
