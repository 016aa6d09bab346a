"""`driftsonde up`: everything on this machine until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from driftsonde.core.config import Config, load_config
from driftsonde.core.names import split_s3


def up(
    config: Annotated[Path, typer.Option(help="The configuration file.")] = Path("driftsonde.yaml"),
    root: Annotated[Path, typer.Option(help="Folder for state and logs; a later `up` goes on from it.")] = Path(".driftsonde"),
) -> None:
    """Start all three services with an embedded bus, SQLite state and emulated AWS; stop with Ctrl-C.

    The emulator forgets its objects when it stops; everything else is kept under --root.
    """
    import asyncio

    from rich.console import Console

    from driftsonde.core.local.buckets import watch_buckets
    from driftsonde.core.local.prometheus import start_prometheus
    from driftsonde.core.local.stack import SERVICES, STANDARD_PORTS, Stack

    console = Console()
    parsed = load_config(config)
    with Stack(root.resolve(), config.resolve(), preferred_ports=STANDARD_PORTS) as stack:
        with stack.aws():
            asyncio.run(watch_buckets(buckets_of(parsed), stack.queue_arn))
        for name in SERVICES:
            stack.launch_service(name)
        for name in SERVICES:
            stack.wait_ready(name)
            console.print(f"  {name:<10} {stack.service_url(name)}", highlight=False)
        console.print(f"  Prometheus {start_prometheus(stack)}", highlight=False)
        console.print(f"  S3, SQS    {stack.endpoint}    (key and secret: test, region: us-east-1)", highlight=False)
        console.print(f"  bus        {stack.bus_url}", highlight=False)
        console.print("\nTry, in another terminal:", style="bold")
        console.print(
            f"  export {' '.join(f'{k}={v}' for k, v in stack.aws_environment().items() if 'SAGEMAKER' not in k)}",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"  driftsonde status --url {stack.service_url('detector')}", highlight=False)
        console.print("\nCtrl-C stops everything.", style="dim")
        wait_for_signal()
        console.print("stopping …", style="dim")


def buckets_of(config: Config) -> list[str]:
    """Return every bucket that a configuration names."""
    uris = [uri for monitor in config.monitors for uri in (monitor.drops, monitor.baseline.uri) if uri]
    uris += [recipe.output for recipe in config.recipes.values()]
    return sorted({split_s3(uri)[0] for uri in uris})


def wait_for_signal() -> None:
    """Wait for SIGINT or SIGTERM."""
    done = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: done.set())
    done.wait()
