"""The queues whose counts the console and the metrics show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from driftsonde.core.aws.watch import QueueWatch
from driftsonde.core.ports import Clock

INTAKE, LETTERS = "intake", "dead_letters"
TITLES: Final[Mapping[str, str]] = {INTAKE: "Intake queue", LETTERS: "Dead letters"}


def queue_watch(clock: Clock) -> QueueWatch:
    """Return what remembers how much waits in both."""
    return QueueWatch(clock, {INTAKE: False, LETTERS: True})
