"""Which monitors a drop belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from driftsonde.core.config import Monitor
from driftsonde.core.names import split_s3


def route(monitors: Sequence[Monitor], bucket: str, key: str) -> list[Monitor]:
    """Return every monitor whose `drops` matches; a prefix matches what it begins, a glob what it describes whole."""
    return [monitor for monitor in monitors if _matches(monitor.drops, bucket, key)]


def _matches(drops: str, bucket: str, key: str) -> bool:
    wanted_bucket, pattern = split_s3(drops)
    if bucket != wanted_bucket or key.endswith("/"):  # a key that ends in a slash is a folder made by a console
        return False
    if any(mark in pattern for mark in "*?["):
        return fnmatchcase(key, pattern)
    return key.startswith(pattern)
