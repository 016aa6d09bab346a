"""The `driftsonde` command, one file per subcommand. Heavy imports happen inside the commands: `--help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

import typer

from driftsonde.core.errors import ConfigError, DriftsondeError
from driftsonde.core.settings import BAD_CONFIG
from driftsonde.core.text import clean

app = typer.Typer(
    name="driftsonde",
    help="Data-drift detection for models on AWS: S3 drops in, verdicts, retraining and messages out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Start with [bold]driftsonde check --baseline ref.parquet current.parquet[/bold]: no service, no AWS, no state.",
)
baseline_app = typer.Typer(help="Build and look at baselines.", no_args_is_help=True)
monitors_app = typer.Typer(help="Look at what is watched.", no_args_is_help=True)
config_app = typer.Typer(help="Check the configuration file.", no_args_is_help=True)
replay_app = typer.Typer(
    help="Take again what was refused, missed or lost. Whatever was counted or handled before is recognised, so repeating is harmless.",
    no_args_is_help=True,
)
notify_app = typer.Typer(help="Try the channels.", no_args_is_help=True)
app.add_typer(baseline_app, name="baseline")
app.add_typer(monitors_app, name="monitors")
app.add_typer(config_app, name="config")
app.add_typer(replay_app, name="replay")
app.add_typer(notify_app, name="notify")

_MAX_MESSAGE = 5_000


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"driftsonde {version('driftsonde-core')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version, and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before a command."""


_SERVICES = {
    "detector": "Measure drops against baselines and publish drift events.",
    "retrainer": "Turn drift events into gated training and batch transform jobs.",
    "notifier": "Tell people over Slack, PagerDuty, e-mail, SNS and webhooks.",
}


def _service_command(name: str) -> Callable[..., None]:
    def run(
        print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings, secrets masked, and exit.")] = False,
        migrate: Annotated[bool, typer.Option("--migrate", help="Bring the database to this version's tables, and exit.")] = False,
    ) -> None:
        asked = {"--print-config": print_config, "--migrate": migrate}
        raise typer.Exit(service_module(name, "__main__").run([flag for flag, given in asked.items() if given]))

    return run


def service_module(service: str, module: Literal["__main__", "again", "sample"]) -> Any:
    """Return a module of a service, which may or may not be installed: core imports none.

    Raises:
        ConfigError: if it is not.
    """
    try:
        return import_module(f"driftsonde.{service}.{module}")
    except ModuleNotFoundError as exc:
        raise ConfigError(f"the {service} is not installed here ({exc.name} is missing): pip install driftsonde-{service}") from exc


def _register() -> None:
    from driftsonde.core.cli import (
        approve,
        backfill,
        backtest,
        baseline,
        budget,
        check,
        configuration,
        demo,
        explain,
        monitors,
        notify,
        replay,
        report,
        rollback,
        silence,
        status,
        up,
        verify,
    )

    app.command("init")(configuration.init)
    app.command("check")(check.check)
    app.command("backtest")(backtest.backtest)
    app.command("backfill")(backfill.backfill)
    app.command("budget")(budget.budget)
    app.command("verify")(verify.verify)
    baseline_app.command("build")(baseline.build)
    config_app.command("check")(configuration.check)
    replay_app.command("dead-letters")(replay.dead_letters)
    replay_app.command("objects")(replay.objects)
    replay_app.command("events")(replay.events)
    replay_app.command("windows")(replay.windows)
    monitors_app.command("list")(monitors.list_)
    app.command("up")(up.up)
    app.command("demo")(demo.demo)
    app.command("silence")(silence.silence)
    app.command("rollback")(rollback.rollback)
    notify_app.command("test")(notify.try_channel)
    app.command("status")(status.status)
    app.command("report")(report.report)
    app.command("explain")(explain.explain)
    app.command("approve")(approve.approve)
    app.command("reject")(approve.reject)
    for name, about in _SERVICES.items():
        app.command(name, help=about + " Settings come from DRIFTSONDE_* variables.")(_service_command(name))


def main() -> None:
    """Run the command line; the exit code tells: 0 ok, 1 error, 2 usage, 78 configuration."""
    _register()
    try:
        app()
    except DriftsondeError as exc:
        # Columns, keys and file names are in it.
        print(f"driftsonde: {clean(str(exc), _MAX_MESSAGE)}", file=sys.stderr)
        sys.exit(BAD_CONFIG if isinstance(exc, ConfigError) else 1)
