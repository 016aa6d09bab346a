"""Which monitors a drop belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from driftsonde.core.config import Monitor
from driftsonde.core.names import covers


def route(monitors: Sequence[Monitor], bucket: str, key: str) -> list[Monitor]:
    """Return every monitor whose `drops` matches."""
    return [monitor for monitor in monitors if covers(monitor.drops, bucket, key)]
