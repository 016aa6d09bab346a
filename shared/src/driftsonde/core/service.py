"""The command line that all three services share: parse, `--print-config`, `--migrate`, run, exit code."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from driftsonde.core import tracing
from driftsonde.core.config import Config, load_config
from driftsonde.core.errors import ConfigError
from driftsonde.core.lifecycle import run_service
from driftsonde.core.log import configure_logging, get_logger
from driftsonde.core.settings import BAD_CONFIG, ServiceSettings

S = TypeVar("S", bound=ServiceSettings)


class MigrationSettings(ServiceSettings):
    """What a migration reads: the database, and nothing that only a running service has (its queues, its `driftsonde.yaml`)."""

    port: int = 0


def service_main(
    name: str,
    about: str,
    settings_type: type[S],
    app: Callable[[S, Config, asyncio.Event], Awaitable[None]],
    argv: Sequence[str] | None,
    *,
    migrations: Path,
) -> int:
    """Run one service from the command line.

    Args:
        name: the service.
        about: what it does, for `--help`.
        settings_type: its settings, read from the environment.
        app: `await app(settings, config, stop)`; returns when `stop` is set and everything is drained.
        argv: arguments; None takes them from the process.
        migrations: folder of the service's revisions, for `--migrate`.

    Returns:
        The exit code: 0 ok, 1 error, 2 usage, 78 configuration.
    """
    parser = argparse.ArgumentParser(
        prog=f"driftsonde {name}",
        description=about,
        epilog="Settings come from the environment (DRIFTSONDE_*), what is watched from driftsonde.yaml. "
        "Exit codes: 0 stopped as asked, 1 failed, 2 usage, 78 configuration.",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--print-config", action="store_true", help="print the settings, secrets masked, and exit")
    instead.add_argument(
        "--migrate", action="store_true", help="bring the database to this version's tables and exit; needs only DRIFTSONDE_DATABASE_URL"
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.migrate:
            _migrate(name, migrations)
            return 0
        settings = settings_type.load()
        if arguments.print_config:
            print(settings.printable())
            return 0
        config = load_config(settings.config)
    except ConfigError as exc:
        print(f"driftsonde {name}: {exc}", file=sys.stderr)
        return BAD_CONFIG
    configure_logging(name, settings.log_level)
    if (problem := tracing.start(name)) is not None:
        get_logger(__name__).warning(problem)
    try:
        return run_service(name, lambda stop: app(settings, config, stop), grace=settings.grace.total_seconds())
    finally:
        tracing.stop()


def _migrate(name: str, migrations: Path) -> None:
    """Do what the service does first when it starts, so that an upgrade can do it before any new process runs."""
    # Here, not above: every command starts sooner without SQLAlchemy, and only a migration needs it in this module.
    from sqlalchemy.exc import DBAPIError

    from driftsonde.core.store.engine import Database

    settings = MigrationSettings.load()
    configure_logging(name, settings.log_level)
    database = Database(settings.database_url.get_secret_value(), replicas=settings.replicas)
    try:
        database.migrate(migrations)
    except DBAPIError as exc:  # a schema that is not there, a right that is missing: what an operator can settle
        raise ConfigError(f"database_url: cannot migrate: {str(exc.orig).strip()}") from exc
    finally:
        database.close()
    get_logger(__name__).info("migrated")
