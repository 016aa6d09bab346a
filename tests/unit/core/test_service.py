"""The command line of a service: `--migrate`, which a deployment runs before it starts new processes."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url

from driftsonde.core.config import Config
from driftsonde.core.service import MigrationSettings, service_main

SERVICES = ["detector", "retrainer", "notifier"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("DRIFTSONDE_"):
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    # A command configures the logging of its process, which is also that of the tests after this one.
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def command(service: str) -> Callable[[list[str]], int]:
    """Return a service's command line."""
    run: Callable[[list[str]], int] = import_module(f"driftsonde.{service}.__main__").run
    return run


def tables(url: str) -> set[str]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


@pytest.mark.parametrize("service", SERVICES)
def test_migrate_makes_tables_knowing_only_the_database(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    monkeypatch.setenv("DRIFTSONDE_DATABASE_URL", url)
    assert command(service)(["--migrate"]) == 0
    assert {"outbox", "inbox"} <= tables(url)
    assert command(service)(["--migrate"]) == 0, "a second time changes nothing"


def test_migrations_of_three_services_share_one_postgresql_by_schema(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for service in SERVICES:
            connection.exec_driver_sql(f"create schema {service}")
    for service in SERVICES:
        separator = "&" if "?" in postgres_url else "?"
        monkeypatch.setenv("DRIFTSONDE_DATABASE_URL", f"{postgres_url}{separator}options=-csearch_path%3D{service}")
        assert command(service)(["--migrate"]) == 0
    assert all("alembic_version" in inspect(engine).get_table_names(schema=service) for service in SERVICES)
    engine.dispose()


def test_migrate_makes_the_schema_of_the_search_path(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    separator = "&" if "?" in postgres_url else "?"
    monkeypatch.setenv("DRIFTSONDE_DATABASE_URL", f"{postgres_url}{separator}options=-csearch_path%3Dsome-where")
    assert command("notifier")(["--migrate"]) == 0
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    assert "outbox" in inspect(engine).get_table_names(schema="some-where")
    assert inspect(engine).get_table_names(schema="public") == []
    engine.dispose()


def test_migrate_into_a_schema_that_may_not_be_made_says_so(
    postgres_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = f"limited_{uuid.uuid4().hex[:8]}"
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"create role {user} login password 'x'")
    url = make_url(postgres_url).set(username=user).update_query_dict({"options": "-csearch_path=nowhere"})
    monkeypatch.setenv("DRIFTSONDE_DATABASE_URL", url.render_as_string(hide_password=False))
    assert command("notifier")(["--migrate"]) == 78
    assert "database_url: cannot migrate: permission denied for database" in capsys.readouterr().err
    with engine.begin() as connection:
        connection.exec_driver_sql(f"drop role {user}")
    engine.dispose()


def test_migrate_without_a_database_names_the_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("notifier")(["--migrate"]) == 78
    assert "database_url" in capsys.readouterr().err


def test_migrate_of_an_unreachable_database_shows_no_password(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTSONDE_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x")
    assert command("retrainer")(["--migrate"]) == 78
    out, err = capsys.readouterr()
    assert "cannot open the database" in err
    assert "hunter2" not in out + err


def test_migrate_starts_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(_settings: MigrationSettings, _config: Config, _stop: asyncio.Event) -> None:
        raise AssertionError("started")

    empty = tmp_path / "migrations"
    empty.mkdir()
    monkeypatch.setenv("DRIFTSONDE_DATABASE_URL", f"sqlite:///{tmp_path / 'state.db'}")
    assert service_main("notifier", "", MigrationSettings, app, ["--migrate"], migrations=empty) == 0


def test_migrate_and_print_config_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command("detector")(["--migrate", "--print-config"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("service", SERVICES)
def test_command_of_the_images_migrates_as_the_chart_asks_it_to(service: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    command = [str(Path(sys.executable).parent / "driftsonde"), service, "--migrate"]
    done = subprocess.run(command, env={**os.environ, "DRIFTSONDE_DATABASE_URL": url}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "outbox" in tables(url)


def test_version_is_that_of_the_distributions() -> None:
    done = subprocess.run([Path(sys.executable).parent / "driftsonde", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"driftsonde {version('driftsonde-core')}\n"
