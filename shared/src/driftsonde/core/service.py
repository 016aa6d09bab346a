"""The command line that all three services share: parse, `--print-config`, run, exit code."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from driftsonde.core.config import Config, load_config
from driftsonde.core.errors import ConfigError
from driftsonde.core.lifecycle import run_service
from driftsonde.core.log import configure_logging
from driftsonde.core.settings import BAD_CONFIG, ServiceSettings

S = TypeVar("S", bound=ServiceSettings)


def service_main(
    name: str, about: str, settings_type: type[S], app: Callable[[S, Config, asyncio.Event], Awaitable[None]], argv: Sequence[str] | None
) -> int:
    """Run one service from the command line.

    Args:
        name: the service.
        about: what it does, for `--help`.
        settings_type: its settings, read from the environment.
        app: `await app(settings, config, stop)`; returns when `stop` is set and everything is drained.
        argv: arguments; None takes them from the process.

    Returns:
        The exit code: 0 ok, 1 error, 2 usage, 78 configuration.
    """
    parser = argparse.ArgumentParser(
        prog=f"driftsonde {name}",
        description=about,
        epilog="Settings come from the environment (DRIFTSONDE_*), what is watched from driftsonde.yaml. "
        "Exit codes: 0 stopped as asked, 1 failed, 2 usage, 78 configuration.",
    )
    parser.add_argument("--print-config", action="store_true", help="print the settings, secrets masked, and exit")
    arguments = parser.parse_args(argv)
    try:
        settings = settings_type.load()
        if arguments.print_config:
            print(settings.printable())
            return 0
        config = load_config(settings.config)
    except ConfigError as exc:
        print(f"driftsonde {name}: {exc}", file=sys.stderr)
        return BAD_CONFIG
    configure_logging(name, settings.log_level)
    return run_service(name, lambda stop: app(settings, config, stop), grace=settings.grace.total_seconds())
