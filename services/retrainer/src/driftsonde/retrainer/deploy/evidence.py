"""What labels say of variants, and what captures say of a shadow. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Tally:
    """Rewards of one variant: how many, and their sum; each is 0 to 1."""

    rows: int = 0
    total: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(self.rows + other.rows, self.total + other.total)


Rewards: TypeAlias = Mapping[str, Tally]
"""By variant."""


@dataclass(frozen=True, slots=True)
class Captures:
    """What was captured of a shadow: requests that the production variant answered, and what the shadow did with them.

    Args:
        requests: answered by the production variant.
        answered: of these, answered by the shadow too.
        agreed: of those, answered alike.
    """

    requests: int = 0
    answered: int = 0
    agreed: int = 0


Evidence: TypeAlias = Rewards | Captures


def rewards(lines: Iterable[bytes], name: str) -> dict[str, Tally]:
    """Count the rewards of one object; a line that is no reward of a variant counts for nothing.

    Args:
        lines: JSON objects with `variant` and the reward.
        name: the field of the reward, a number of 0 to 1 or a boolean.
    """
    found: dict[str, Tally] = {}
    for line in lines:
        record = _object(line)
        value, variant = record.get(name), record.get("variant")
        if isinstance(variant, str) and isinstance(value, int | float) and 0 <= value <= 1:
            found[variant] = found.get(variant, Tally()) + Tally(1, float(value))
    return found


def _object(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


@dataclass(slots=True)
class Comparison:
    """Gathers captured lines of two variants and pairs them by the request they answer.

    Args:
        before: later requests are left out: one side of them may not be written yet.
        tolerance: by how much two numbers may differ that agree.
    """

    before: datetime
    tolerance: float
    production: dict[str, str] = field(default_factory=dict)
    shadow: dict[str, str] = field(default_factory=dict)

    def add(self, line: bytes, *, shadow: bool) -> None:
        """Take one captured line; one that is not of SageMaker's shape is left out."""
        record = _object(line)
        try:
            meta, output = record["eventMetadata"], record["captureData"]["endpointOutput"]
            at = datetime.fromisoformat(meta["inferenceTime"])
            answer = _text(output)
            key = str(meta.get("inferenceId") or meta["eventId"])
        except (KeyError, TypeError, ValueError):
            return
        if at.tzinfo is not None and at <= self.before:
            (self.shadow if shadow else self.production)[key] = answer

    def result(self) -> Captures:
        """Return the counts."""
        both = self.production.keys() & self.shadow.keys()
        agreed = sum(_alike(self.production[key], self.shadow[key], self.tolerance) for key in both)
        return Captures(len(self.production), len(both), agreed)


def _text(output: Mapping[str, str]) -> str:
    if output["encoding"] != "BASE64":
        return output["data"].strip()
    try:
        return base64.b64decode(output["data"], validate=True).decode().strip()
    except binascii.Error as exc:
        raise ValueError("not base64") from exc


def _alike(one: str, other: str, tolerance: float) -> bool:
    """Whether two answers are the same text, or the same count of numbers that differ by no more than the tolerance."""
    try:
        pairs = list(zip(_numbers(one), _numbers(other), strict=True))
    except ValueError:
        return one == other
    return all(math.isfinite(a - b) and abs(a - b) <= tolerance for a, b in pairs)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.replace("\n", ",").split(",")]
