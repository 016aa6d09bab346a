"""Secrets appear in no output: each is a canary here, and everything that a process says or stores is searched for it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy.exc import StatementError

from driftsonde.core.bus import connect_bus
from driftsonde.core.config import parse_config
from driftsonde.core.errors import ConfigError
from driftsonde.core.local.stack import free_port
from driftsonde.core.log import configure_logging, redact
from driftsonde.core.store.engine import Database
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels.http import HttpPoster
from driftsonde.notifier.channels.slack import Slack
from driftsonde.notifier.channels.webhook import Webhook
from driftsonde.notifier.settings import NotifierSettings
from unit.notifier.support import Reply, Rig, detected, scripted_server

CANARY = "c4n4ry"
HOOK = f"https://127.0.0.1:1/services/T{CANARY}/B{CANARY}/{CANARY}"
NATS = Path(sys.executable).with_name("nats-server")
SERVICES = ("detector", "retrainer", "notifier")
# Passwords as people write them, also where @ and / should have been escaped, or the host was forgotten.
DATABASES = [
    f"postgresql://me:{CANARY}@127.0.0.1:1/x", f"postgresql://me:a@{CANARY}@127.0.0.1:1/x", f"postgresql://me:{CANARY}@{CANARY}@127.0.0.1:1/x", f"postgresql://me:a/{CANARY}@127.0.0.1:1/x",
    f"postgresql://me:{CANARY}", f"postgresql://127.0.0.1:1/x?user=me&password={CANARY}", f"mysql://me:{CANARY}@db/x", f"postgresql:/me:{CANARY}@db", f"{CANARY}", f"me:{CANARY}@db", f"postgresql://me:{CANARY}@[db/x",
]  # fmt: skip
BUSES = [
    f"nats://me:{CANARY}@127.0.0.1:1", f"nats://{CANARY}@127.0.0.1:1", f"nats://me:{CANARY}/x@127.0.0.1:1", f"nats://me:a@{CANARY}@127.0.0.1:1", f"nats://me:{CANARY}", f"redis://:{CANARY}@bus", f"{CANARY}",
    f"nats://me:{CANARY}@[bus", f"nats://me:{CANARY}\u2100@bus", f"nats://me:{CANARY}@h:1,nats://me:{CANARY}@i:1", f"nats://h:4222?token={CANARY}", f"nats://h:4222#{CANARY}",
]  # fmt: skip


def environment(tmp_path: Path, service: str, **extra: str) -> dict[str, str]:
    """Return the environment of a service at its most talkative; what it is to be is changed by `extra`."""
    config = {
        "monitors": [{"name": "churn", "drops": "s3://acme/in/", "baseline": "s3://acme/base/", "notify": ["ops"]}],
        "channels": {"ops": {"type": "slack", "webhook_file": str(tmp_path / "hook"), "allow_private": True}},
    }
    (tmp_path / "driftsonde.yaml").write_text(json.dumps(config))
    (tmp_path / "hook").write_text(HOOK)
    mine = {
        "CONFIG": str(tmp_path / "driftsonde.yaml"), "DATABASE_URL": f"sqlite:///{tmp_path}/{service}.db", "PORT": "0", "LOG_LEVEL": "DEBUG",
        "BUS_URL": f"nats://me:{CANARY}@127.0.0.1:1", "QUEUE_URL": "http://127.0.0.1:1/q", "DEAD_LETTER_URL": "http://127.0.0.1:1/d", "POLL_SECONDS": "0", **extra,
    }  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DRIFTSONDE_", "AWS_"))}
    aws = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": f"id{CANARY}",
        "AWS_SECRET_ACCESS_KEY": f"key{CANARY}",
        "AWS_SESSION_TOKEN": CANARY,
    }
    return clean | aws | {f"DRIFTSONDE_{name}": value for name, value in mine.items()}


def stored(folder: Path) -> str:
    """Return every value of every row of the databases in a folder."""
    found = []
    for path in folder.glob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
                found += [repr(row) for row in connection.execute(f'select * from "{table}"')]
    return "\n".join(found)


def get(url: str) -> str:
    """Return what an address answers, whatever its status; nothing when it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as exc:
        return str(exc.read().decode())
    except OSError:
        return ""


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a nats-server that wants another password."""
    folder, port = tmp_path_factory.mktemp("nats"), free_port()
    (folder / "nats.conf").write_text(
        f'host: 127.0.0.1\nport: {port}\nauthorization {{ user: me, password: right }}\njetstream {{ store_dir: "{folder}/js" }}\n'
    )
    with subprocess.Popen([NATS, "-c", folder / "nats.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield port
        process.terminate()


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path, int]]]:
    """Services that all run at once, while the bus and AWS are away: by name the process, folder and port."""
    with contextlib.ExitStack() as stack:
        started = {}
        for service in SERVICES:
            folder, port = tmp_path_factory.mktemp(service), free_port()
            env = environment(folder, service, PORT=str(port))
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": env}
            process = stack.enter_context(subprocess.Popen([sys.executable, "-m", f"driftsonde.{service}"], **pipes))
            stack.callback(process.kill)
            started[service] = (process, folder, port)
        yield started


@pytest.mark.parametrize("service", SERVICES)
async def test_running_service_says_no_secret_anywhere(talk: Mapping[str, tuple[subprocess.Popen[str], Path, int]], service: str) -> None:
    process, folder, port = talk[service]
    pages: list[str] = []
    async with asyncio.timeout(25):
        while len(pages) < 10 and process.poll() is None:
            await asyncio.sleep(0.1)
            page = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/readyz")
            pages += [page] if page else []
    pages += [
        await asyncio.to_thread(get, f"http://127.0.0.1:{port}{path}") for path in ("/metrics", "/livez", "/api/monitors", "/api/timeline")
    ]
    process.kill()
    output = (await asyncio.to_thread(process.communicate))[0]
    assert "driftsonde_" in "".join(pages)
    assert '"level": ' in output
    assert CANARY not in output + "".join(pages) + stored(folder)


@pytest.fixture(scope="module", autouse=True)
def short(tmp_path_factory: pytest.TempPathFactory, nats: int) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """Processes that end soon, started before the first test: most of their time is importing."""
    commands = {
        "bus": ("notifier", {"BUS_URL": f"nats://me:{CANARY}@127.0.0.1:{nats}"}, []),
        "database": ("retrainer", {"DATABASE_URL": DATABASES[0]}, []),
        "print": ("notifier", {"DATABASE_URL": DATABASES[2]}, ["--print-config"]),
    }
    with contextlib.ExitStack() as stack:
        started = {}
        for name, (service, extra, arguments) in commands.items():
            folder = tmp_path_factory.mktemp(name)
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            command = [sys.executable, "-m", f"driftsonde.{service}", *arguments]
            process = stack.enter_context(subprocess.Popen(command, env=environment(folder, service, **extra), **pipes))
            stack.callback(process.kill)
            started[name] = process, folder
        yield started


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("bus", 0, "Authorization Violation"), ("database", 78, "cannot open the database"), ("print", 0, '"log_level": "DEBUG"')],
)
def test_process_that_ends_repeats_no_password(
    short: Mapping[str, tuple[subprocess.Popen[str], Path]], name: str, code: int, said: str
) -> None:
    process, folder = short[name]
    output = ""
    for line in process.stdout or ():
        output += line
        if name == "bus" and said in line:  # it goes on trying
            process.terminate()
    process.wait(30)
    assert (process.returncode, said in output) == (code, True), output
    assert CANARY not in output + stored(folder)


@pytest.mark.parametrize("database", DATABASES)
def test_database_url_of_any_form_is_never_part_of_an_error(database: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Database(database).migrate(tmp_path)
    assert CANARY not in everything(caught.value)


def everything(error: BaseException | None) -> str:
    """Return the text of an error as a traceback shows it, causes included."""
    said = []
    while error is not None:
        said += [repr(error), str(error)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(said)


@pytest.mark.parametrize("bus", BUSES)
def test_bus_url_of_any_form_is_never_part_of_an_error(bus: str) -> None:
    said: ConfigError | None = None
    try:
        connect_bus(bus)
    except ConfigError as exc:
        said = exc
    assert CANARY not in everything(said)


@pytest.mark.parametrize("url", [*DATABASES, *BUSES])
def test_printed_settings_mask_every_form(url: str) -> None:
    settings = NotifierSettings(database_url=url, bus_url=url, port=0)
    assert CANARY not in settings.printable()
    assert CANARY not in repr(settings) + str(settings)


def test_wrong_setting_is_named_without_the_secret_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTSONDE_DATABASE_URL", DATABASES[0])
    monkeypatch.setenv("DRIFTSONDE_PORT", "many")
    with pytest.raises(ConfigError, match="port: Input should be a valid integer") as caught:
        NotifierSettings.load()
    assert CANARY not in everything(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": {"ops": HOOK}}, {"channels": {"ops": {"type": "slack", "webhook": HOOK}}}, {"channels": {HOOK: {}}}, {"channels": {"ops": {"type": HOOK}}}, {HOOK: 1}, {"monitors": HOOK},
        {"database_url": DATABASES[0]}, {"monitors": [{"name": DATABASES[0], "drops": DATABASES[0], "baseline": "s3://acme/b/"}]}, {"budget": {"x": [{"y": DATABASES[1]}]}},
    ],
)  # fmt: skip
def test_secret_in_the_wrong_place_of_the_file_is_not_repeated(change: dict[str, Any]) -> None:
    raw = {"monitors": [{"name": "churn", "drops": "s3://acme/in/", "baseline": "s3://acme/base/"}], **change}
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, source="driftsonde.yaml")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404, HOOK), Reply(500, f"no_service {HOOK}"), Reply(302, "", {"Location": HOOK}), Reply(200, HOOK), Reply(403, "invalid_token"), Reply(429, HOOK, {"Retry-After": CANARY}), Reply(410, CANARY.upper()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Slack, Webhook])
async def test_answer_that_repeats_the_address_is_neither_stored_nor_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reply: Reply, kind: type[Slack | Webhook]
) -> None:
    async with scripted_server() as server, httpx.AsyncClient(trust_env=False) as client:
        server.replies.append(reply)
        url = server.url(f"/services/{CANARY}")
        rig = Rig(tmp_path, {"ops": kind(HttpPoster(url, client, FakeClock(), key="channels.ops", allow_private=True))})
        await rig.tell(detected())
        await rig.deliver()
        rig.close()
    assert len(server.requests) == 1
    out, err = capsys.readouterr()
    assert CANARY not in (out + err + stored(tmp_path)).lower()


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError(HOOK),
        httpx.ReadTimeout(HOOK),
        OSError(2, HOOK),
        httpx.UnsupportedProtocol(HOOK),
        ZeroDivisionError(HOOK),
        httpx.InvalidURL(HOOK),
    ],
)
async def test_error_that_names_the_address_is_neither_stored_nor_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        rig = Rig(tmp_path, {"ops": Slack(HttpPoster(HOOK, client, FakeClock(), key="channels.ops", allow_private=True))})
        await rig.tell(detected())
        await rig.deliver()
        state = rig.log()
        rig.close()
    assert state[0][0] == "pending"
    out, err = capsys.readouterr()
    assert CANARY not in out + err + stored(tmp_path)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the JSON logs of a service say."""
    said, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", said)
    configure_logging("test", "DEBUG")
    yield said
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize(
    "secret", [*(url for url in (*DATABASES, *BUSES) if "@" in url and "://" in url), f"https://hooks.slack.com/services/T/B/{CANARY}"]
)
def test_logged_error_with_causes_is_redacted(logged: io.StringIO, secret: str) -> None:
    library = logging.getLogger("some.library")
    try:
        try:
            raise OSError(f"cannot reach {secret}")
        except OSError as exc:
            raise RuntimeError(f"gave up on {secret}") from exc
    except RuntimeError:
        structlog.get_logger("ours").exception(f"failed: {secret}", url=secret)
        library.exception("failed: %s", secret)
    said = logged.getvalue()
    assert [json.loads(line)["level"] for line in said.splitlines()] == ["error", "error"]
    assert "gave up on" in said
    assert CANARY not in said


@pytest.mark.parametrize("text", ["s3://acme/in/a@b.csv", "mail me@example.com", "http://127.0.0.1:8080/api/monitors", "nothing"])
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_failed_statement_does_not_tell_its_parameters(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(StatementError) as caught, database.write() as connection:
        connection.exec_driver_sql("insert into nowhere values (?)", (CANARY,))
    database.close()
    assert CANARY not in str(caught.value)
