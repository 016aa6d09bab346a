"""`driftsonde notify test`: a message that is clearly a test, through a configured channel."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from driftsonde.core.config import load_config
from driftsonde.core.errors import ConfigError
from driftsonde.core.text import clean


class Kind(StrEnum):
    """What the sample says happened."""

    DRIFT = "drift"
    UNTRUSTED = "untrusted"
    RESOLVED = "resolved"


def try_channel(
    channel: Annotated[str, typer.Argument(help="A channel of the configuration file, e.g. ml-oncall.")],
    event: Annotated[Kind, typer.Option(help="What the message says; `resolved` closes what the others opened at PagerDuty.")] = Kind.DRIFT,
    config: Annotated[Path, typer.Option(envvar="DRIFTSONDE_CONFIG", help="The configuration file.")] = Path("driftsonde.yaml"),
) -> None:
    """Send a message marked as a test from this machine, once, whatever the channel's hours and rules; exits 1 if it was not accepted."""
    from driftsonde.core.cli import service_module
    from driftsonde.core.lifecycle import SystemClock

    channels = load_config(config).channels
    if channel not in channels:
        known = ", ".join(channels) or "none"
        raise ConfigError(f"channels: there is no {clean(channel)!r}; there are: {known}")
    samples = service_module("notifier", "sample")
    answer = asyncio.run(samples.send_sample(channel, channels[channel], event.value, SystemClock()))
    said = {"delivered": "delivered", "retry": "not accepted now; the notifier would try again", "refused": "refused"}[answer.outcome]
    print(f"{channel}: {said}{f' ({clean(answer.detail, 200)})' if answer.detail else ''}")
    if answer.outcome != "delivered":
        raise typer.Exit(1)
