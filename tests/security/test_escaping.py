"""Names that came with data are text wherever they are shown: in Slack, in logs, on terminals and in what is trained on."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from typer.testing import CliRunner

from driftsonde.core import cli
from driftsonde.core.cli import status
from driftsonde.core.log import configure_logging
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.core.text import clean
from driftsonde.notifier.channels.http import HttpPoster, http_client
from driftsonde.notifier.channels.slack import Slack
from driftsonde.retrainer.steps.encoding import Encoding
from driftsonde.retrainer.steps.prepare import _write
from unit.notifier.support import TRUST, Server, detected, event, rejected, scripted_server

HOSTILE = [
    "../../etc/passwd", "a%00b", "a\x00b", "line\nbreak\r\nchurn  ok", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b]8;;http://evil\x1b\\click", "\x9b31m", "\rok", "\b\b\b\bok", "abc\u202egpj.exe",
    "\u2066\u2067\u2069", "zero\u200bwidth\ufeff", "\u2028\u2029", "<!channel>", "<!here|x>", "<@U123>", "<#C123>", "<!subteam^S1>", "<http://evil|click>", "@channel @HERE @everyone", "*bold* _it_ ~no~ `code`",
    "```block```", "&lt;!channel&gt;", "&amp;lt;", "[red]x[/red]", "[/]", "[link=http://evil]x[/link]", "[@click=app.bell]x", "\\[red]", ":smile:", "=1+1", "x" * 10_000, "&" * 10_000, "\x1b" * 10_000, "é" * 10_000,
]  # fmt: skip
IDS = [repr(name)[:30] for name in HOSTILE]
_INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]")
_REGISTER = cli._register  # once for the process: a second time every command would be there twice
_OURS = re.compile(r"@\u2060(?=channel|here|everyone)", re.IGNORECASE)  # what neutralises a mention is invisible itself


@pytest.fixture
async def server() -> Any:
    """A scripted Slack."""
    async with scripted_server() as served:
        yield served


@pytest.mark.parametrize("name", HOSTILE, ids=IDS)
async def test_slack_gets_plain_text_within_its_limits(server: Server, name: str) -> None:
    facts = [detected(columns=[name] * 25, label=name, summary=name), rejected(name, name)]
    async with http_client(TRUST) as client:
        slack = Slack(HttpPoster(server.url(), client, FakeClock(), key="channels.ops", allow_private=True))
        assert [(await slack.send(event(fact))).outcome for fact in facts] == ["delivered", "delivered"]
    for request in server.requests:
        payload = request.json()
        assert payload["mrkdwn"] is False
        shown = [payload["text"], *texts(payload["blocks"])]
        for text in shown:
            assert len(text) <= 3_000
            assert not set("<>") & set(text)
            assert not re.search(r"&(?!amp;|lt;|gt;)", text)
            assert not re.search(r"@(channel|here|everyone)", text, re.IGNORECASE)
            assert not _INVISIBLE.search(_OURS.sub("", text))
        assert len(payload["blocks"]) <= 50
        assert sum(map(len, shown)) <= 13_000


def texts(blocks: Any) -> list[str]:
    """Return the text of every text object; each must be plain."""
    if isinstance(blocks, list):
        return [text for block in blocks for text in texts(block)]
    if not isinstance(blocks, dict):
        return []
    if isinstance(blocks.get("text"), str):
        assert blocks["type"] == "plain_text"
        return [blocks["text"]]
    return [text for value in blocks.values() for text in texts(value)]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the JSON logs of a service say."""
    said, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", said)
    configure_logging("test")
    yield said
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("name", [*HOSTILE, "\ud800"], ids=[*IDS, "surrogate"])
def test_log_is_one_line_of_ascii_json_for_each_event(logged: io.StringIO, name: str) -> None:
    with structlog.contextvars.bound_contextvars(drop=name):
        structlog.get_logger("ours").warning(name, detail=name, listed=[name])
        logging.getLogger("library").warning("%s", name)
        try:
            raise ValueError(name)
        except ValueError:
            structlog.get_logger("ours").exception("failed")
    said = logged.getvalue()
    lines = said.removesuffix("\n").split("\n")
    assert [json.loads(line)["level"] for line in lines] == ["warning", "warning", "error"]
    assert said.isascii()
    assert not _INVISIBLE.search(said)
    assert json.loads(lines[0])["drop"] == name


def files(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """Write a reference and a window that has left it, with a number of each name, and levels and a new column named alike."""
    paths = folder / "reference.parquet", folder / "window.parquet"
    random = np.random.default_rng(1)
    for path, shift in zip(paths, (0.0, 3.0), strict=True):
        table = {name: pa.array(random.normal(shift, 1, 1500)) for name in names}
        table["levels"] = pa.array([f"{names[n % len(names)]}{'moved' if shift else ''}" for n in range(1500)])
        table |= {f"new{name}": pa.array([1.0] * 1500) for name in names if shift}
        pq.write_table(pa.table(table), path)
    return paths


def command(*arguments: object) -> str:
    """Run a command of `driftsonde` as if on a terminal; returns what it printed."""
    if not cli.app.registered_commands:
        _REGISTER()
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "600", "NO_COLOR": "1"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return str(done.output)


def test_terminal_shows_column_names_as_harmless_text(tmp_path: Path) -> None:
    names = [name for name in HOSTILE if len(name) <= 256]
    reference, window = files(tmp_path, names)
    built = command("baseline", "build", reference, "--out", tmp_path / "b.dsk")
    for output in (
        built,
        command("check", "--baseline", tmp_path / "b.dsk", window),
        command("backtest", "--baseline", reference, window, "--all"),
    ):
        assert not _INVISIBLE.search(output)
    for output in (built, command("check", "--baseline", tmp_path / "b.dsk", window)):
        assert [name for name in names if clean(name) not in output] == []  # brackets and all: nothing was taken as markup


def test_file_name_is_no_markup(tmp_path: Path) -> None:
    reference, window = files(tmp_path, ["x"])
    hostile = window.rename(tmp_path / "[red]\x1b[31mx[closed].parquet")
    output = command("check", "--baseline", reference, hostile)
    assert "[red]\ufffd[31mx[closed].parquet" in re.sub(r"\s+", "", output)


@pytest.mark.parametrize("name", HOSTILE, ids=IDS)
def test_status_shows_summaries_as_harmless_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str) -> None:
    episode = {"number": 1, "kind": "drift", "open": True, "cause": None, "summary": f"{name} moved"}
    building = {"version": 1, "error": name}
    answer = [{"name": "churn", "baseline": None, "building": building, "drops": {"counted": 1}, "episodes": [episode], "policy": {}}]
    monkeypatch.setattr(status, "fetch", lambda *_: answer)  # the detector's answer, from elsewhere
    monkeypatch.setenv("COLUMNS", "2000")
    status.status()
    output = capsys.readouterr().out
    assert not _INVISIBLE.search(output)
    assert output.count("\n") <= 4
    assert clean(name, 40).removesuffix("…") in output


@pytest.mark.parametrize("name", HOSTILE, ids=IDS)
def test_error_of_a_command_is_one_harmless_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str) -> None:
    monkeypatch.setattr(cli, "_register", lambda: None if cli.app.registered_commands else _REGISTER())
    monkeypatch.setattr(sys, "argv", ["driftsonde", "baseline", "build", name.replace("\x00", "\x01"), "--out", "/nowhere/x"])
    with pytest.raises(SystemExit):
        cli.main()
    output = capsys.readouterr().err
    assert not _INVISIBLE.search(output)
    assert output.count("\n") == 1
    assert len(output) < 6_000


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", '"', "a,b", "a\nb", "\t=1", *HOSTILE])
def test_training_file_is_numbers_for_a_machine_and_alters_no_value(value: str) -> None:
    """No text of the data gets into a CSV: levels are codes. So there is no formula to escape, and a sign stays a sign."""
    batch = pa.record_batch({"level": pa.array([value, "b", value]), "number": pa.array([-1.5, 2.0, None])})
    encoding = Encoding.infer(batch.schema, skip=(), categorical=("level",))
    encoding.grow(batch)
    file = io.StringIO()
    _write(file, encoding.matrix(batch))
    code, other = encoding.levels["level"].index(value), encoding.levels["level"].index("b")
    assert file.getvalue() == f"{code},-1.5\n{other},2\n{code},\n"
    assert Encoding.load(json.loads(json.dumps(encoding.dump()))) == encoding
