"""A message that is clearly a test, sent through a configured channel: `driftsonde notify test`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final, Literal

from driftsonde.core.config import ChannelConfig
from driftsonde.core.events import BaselineRef, CheckResult, DataUntrusted, DriftDetected, DriftResolved, Event, Fact, Shift, WindowRef
from driftsonde.core.ports import Clock, Delivery, Occasion
from driftsonde.notifier.channels import open_channels

Kind = Literal["drift", "untrusted", "resolved"]

MONITOR: Final = "driftsonde-test"
"""No monitor of anybody's: what is filtered or counted by monitor stays as it is."""
_SUMMARY: Final = "This is what a message looks like: 1 of 12 columns has moved."


async def send_sample(name: str, section: ChannelConfig, kind: Kind, clock: Clock) -> Delivery:
    """Send a sample through a channel, once.

    Raises:
        ConfigError: when the channel cannot be used.
    """
    async with AsyncExitStack() as stack:
        (link,) = await open_channels({name: section}, clock, stack)
        return await link.channel.send(sample(kind, clock), Occasion(sample=True))


def sample(kind: Kind, clock: Clock) -> Event:
    """Return an event that never happened; each is new, all are of one episode."""
    now = clock.now()
    sequence = int(now.timestamp())
    fact: Fact
    if kind == "resolved":
        fact = DriftResolved(monitor=MONITOR, episode=1, sequence=sequence, kind="drift", cause="recovered")
    else:
        told = {
            "monitor": MONITOR, "episode": 1, "sequence": sequence, "summary": _SUMMARY, "columns": ("sample",),
            "window": WindowRef(id="sample", rows=1_000, start=now - timedelta(days=1), end=now),
            "baseline": BaselineRef(version=1, digest="0" * 32, rows=10_000), "checks": (_check(kind),),
        }  # fmt: skip
        fact = (DriftDetected if kind == "drift" else DataUntrusted).model_validate(told)
    return Event.of(fact, time=now)


def _check(kind: Kind) -> CheckResult:
    return CheckResult(
        column="sample", check="ks" if kind == "drift" else "nulls", score=0.25, threshold=0.1, critical=0.15, p_value=1e-9,
        n=1_000, baseline_n=10_000, interval=(0.2, 0.3),
        moved=(Shift(label="20-30", baseline=0.2, window=0.4),) if kind == "drift" else (),
    )  # fmt: skip
