"""`driftsonde notify test` and `driftsonde silence`."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core import cli

TOKEN = "t0ken-SECRET"


class Told(ThreadingHTTPServer):
    """A server that takes anything, remembers it, and gives one answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.answer: tuple[int, bytes] = (200, b"ok")
        self.requests: list[tuple[str, str, str | None, Any]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Take(BaseHTTPRequestHandler):
    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        server: Any = self.server
        server.requests.append((self.command, self.path, self.headers.get("Authorization"), json.loads(body) if body else None))
        self.send_response(server.answer[0])
        self.send_header("Content-Length", str(len(server.answer[1])))
        self.end_headers()
        self.wfile.write(server.answer[1])

    do_GET = do_POST = do_DELETE = _any

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def told() -> Iterator[Told]:
    """A server in a thread: the commands have event loops of their own."""
    with Told() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told) -> Callable[..., int]:
    """The command line, with a configuration whose channels lead to `told`."""
    (tmp_path / "hook").write_text(told.url)
    (tmp_path / "key").write_text("R0UT1NG-SECRET")
    config = {
        "monitors": [{"name": "churn", "drops": "s3://acme/in/", "baseline": "s3://acme/train/"}],
        "channels": {
            "ml-oncall": {"type": "slack", "webhook_file": str(tmp_path / "hook"), "allow_private": True, "severity": "critical", "events": ["drop.rejected"]},
            "hook": {"type": "webhook", "url_file": str(tmp_path / "hook"), "allow_private": True},
            "duty": {"type": "pagerduty", "routing_key_file": str(tmp_path / "key"), "api": told.url, "allow_private": True},
        },
    }  # fmt: skip
    (tmp_path / "driftsonde.yaml").write_text(json.dumps(config))
    monkeypatch.setenv("DRIFTSONDE_CONFIG", str(tmp_path / "driftsonde.yaml"))
    monkeypatch.setenv("DRIFTSONDE_NOTIFIER_URL", told.url)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["driftsonde", *arguments])
        try:
            cli.main()
        except SystemExit as exc:
            return int(exc.code or 0)
        return 0

    return call


def test_sample_is_marked_as_a_test_and_sent(command: Callable[..., int], told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("notify", "test", "ml-oncall") == 0
    ((_, _, _, payload),) = told.requests
    assert payload["text"].startswith("TEST: Drift: driftsonde-test")
    assert "This is a test: nothing of this happened" in json.dumps(payload["blocks"])
    assert capsys.readouterr().out.endswith("ml-oncall: delivered\n")


@pytest.mark.parametrize(("event", "action"), [("drift", "trigger"), ("untrusted", "trigger"), ("resolved", "resolve")])
def test_every_kind_of_sample_concerns_the_same_incident(command: Callable[..., int], told: Told, event: str, action: str) -> None:
    told.answer = (202, b"{}")
    assert command("notify", "test", "duty", "--event", event) == 0
    ((_, path, _, body),) = told.requests
    assert (path, body["event_action"], body["dedup_key"]) == ("/v2/enqueue", action, "driftsonde-test/1")


@pytest.mark.parametrize(
    ("status", "said"), [(404, "refused (HTTP 404)"), (503, "not accepted now; the notifier would try again (HTTP 503)")]
)
def test_sample_that_is_not_accepted_exits_1(
    command: Callable[..., int], told: Told, capsys: pytest.CaptureFixture[str], status: int, said: str
) -> None:
    told.answer = (status, b"no")
    assert command("notify", "test", "hook") == 1
    assert f"hook: {said}" in capsys.readouterr().out


def test_unknown_channel_exits_78_naming_those_there_are(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("notify", "test", "nobody") == 78
    assert "there is no 'nobody'; there are: ml-oncall, hook, duty" in capsys.readouterr().err


SILENCE = {"id": 3, "monitor": "churn", "channel": None, "reason": "a\x1b[31m known", "until": "2026-01-01T16:00:00+00:00"}


def test_silence_is_asked_of_the_notifier(command: Callable[..., int], told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told.answer = (201, json.dumps(SILENCE).encode())
    assert command("silence", "churn", "--for", "4h", "--reason", "known", "--channel", "ops", "--token", TOKEN) == 0
    wanted = {"monitor": "churn", "for": "4h", "reason": "known", "channel": "ops"}
    assert told.requests == [("POST", "/api/silences", f"Bearer {TOKEN}", wanted)]
    assert capsys.readouterr().out == "3  churn on every channel until 2026-01-01 16:00 UTC  a\ufffd[31m known\n"


def test_silences_are_listed(command: Callable[..., int], told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told.answer = (200, json.dumps([SILENCE | {"channel": "ops"}]).encode())
    assert command("silence", "--list") == 0
    assert "3  churn on ops until 2026-01-01 16:00 UTC" in capsys.readouterr().out
    assert command("silence", "--list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["channel"] == "ops"
    told.answer = (200, b"[]")
    assert command("silence", "--list") == 0
    assert capsys.readouterr().out == "no silences\n"


def test_silence_is_ended_by_its_number(command: Callable[..., int], told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told.answer = (204, b"")
    assert command("silence", "--end", "3") == 0
    assert told.requests == [("DELETE", "/api/silences/3", None, None)]
    assert capsys.readouterr().out == "silence 3 is over\n"


def test_refusal_of_the_notifier_is_repeated_without_the_token(
    command: Callable[..., int], told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    told.answer = (404, b'{"error": "there is no monitor \'gone\'"}')
    assert command("silence", "gone", "--for", "1h", "--token", TOKEN) == 1
    out, err = capsys.readouterr()
    assert "says 404: there is no monitor 'gone'" in err
    assert "SECRET" not in out + err


@pytest.mark.parametrize(
    "arguments", [[], ["churn"], ["--for", "4h"], ["churn", "--for", "4h", "--list"], ["--list", "--end", "1"], ["--end", "x"]]
)
def test_half_a_command_is_a_usage_error(command: Callable[..., int], told: Told, arguments: list[str]) -> None:
    assert command("silence", *arguments) == 2
    assert told.requests == []


def test_notifier_that_is_away_is_said(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("silence", "--list", "--url", "http://127.0.0.1:9") == 1
    assert "does not answer at http://127.0.0.1:9" in capsys.readouterr().err
