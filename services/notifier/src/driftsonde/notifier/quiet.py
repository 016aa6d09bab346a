"""Quiet hours: when a channel is left alone, and what passes all the same. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from driftsonde.core.config import QuietHours, Severity
from driftsonde.core.hours import is_within

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""From the least urgent to the most."""


def passing(hours: QuietHours | None, now: datetime) -> tuple[Severity, ...]:
    """Return the severities that may be told now."""
    if hours is None or not is_within(hours, now):
        return SEVERITIES
    return () if hours.passes == "none" else at_least(hours.passes)


def at_least(severity: Severity) -> tuple[Severity, ...]:
    """Return a severity and those above it."""
    return SEVERITIES[SEVERITIES.index(severity) :]
