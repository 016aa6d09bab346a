"""Validated identifiers: what may be a monitor, a recipe or a channel, and how job names are derived."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import StringConstraints

# Lower case, digits and inner hyphens: safe in bus subjects, metric labels, S3 keys and SageMaker names alike.
NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A monitor, recipe or channel name: 1 to 32 lower-case letters, digits and inner hyphens."""

S3Uri = Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/.*)?$", max_length=1024)]
"""An `s3://bucket/key` address, at most 1,024 characters (SageMaker's limit)."""


def digest(*parts: object) -> str:
    """Return 32 hexadecimal characters that depend on every part and on where one ends and the next begins."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def job_name(monitor: str, step: str, *identity: object) -> str:
    """Return the name of a SageMaker job, the same for the same identity on every replica.

    SageMaker names are unique per account and region, so a name derived from what the job is for works as a lock:
    the second creator is told `ResourceInUse`. The readable prefix is for people; the digest carries the identity.

    Args:
        monitor: the monitor's name; shortened to keep the whole within SageMaker's 63 characters.
        step: `prepare`, `train`, `evaluate`, `model` or `transform`.
        identity: what makes the job one of its kind (deployment, store, episode, attempt).
    """
    return f"ds-{monitor[:24].rstrip('-')}-{step}-{digest(monitor, step, *identity)[:20]}"


def tuning_name(monitor: str, *identity: object) -> str:
    """Return the name of a SageMaker tuning job, as `job_name` does; these may have 32 characters only.

    Args:
        monitor: the monitor's name; eight characters of it are kept, for people.
        identity: what makes the job one of its kind (deployment, store, episode, attempt).
    """
    return f"ds-{monitor[:8].rstrip('-')}-{digest(monitor, 'tune', *identity)[:20]}"


def split_s3(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and key; the key may be empty.

    Raises:
        ValueError: if `uri` does not begin with `s3://` and a bucket.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise ValueError(f"not an S3 address: {uri!r}; expected s3://bucket/key")
    return bucket, key


def covers(pattern: str, bucket: str, key: str) -> bool:
    """Tell whether an `s3://` prefix or glob means an object: a prefix what it begins, a glob what it describes whole."""
    wanted, rest = split_s3(pattern)
    if bucket != wanted or key.endswith("/"):  # a key that ends in a slash is a folder made by a console
        return False
    return fnmatchcase(key, rest) if is_glob(rest) else key.startswith(rest)


def is_glob(text: str) -> bool:
    """Tell whether a text has wildcards."""
    return any(mark in text for mark in "*?[")
