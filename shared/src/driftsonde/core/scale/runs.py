"""What a worker is given, and an engine that has workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Protocol

from driftsonde.core.errors import DriftsondeError, RetryableError
from driftsonde.core.places import Found, Places

RUNS_PER_SLOT = 4  # so that one with slow objects does not keep all others waiting
_OPENING = 64 * 1024  # bytes that take about as long as opening an object does


@dataclass(frozen=True, slots=True)
class Run:
    """Objects that follow one another.

    Args:
        objects: in order.
        first: number of their first row among those of all objects, where it is known.
    """

    objects: tuple[Found, ...]
    first: int = 0

    def encode(self) -> str:
        """Return it as text."""
        return json.dumps([self.first, *self.objects])

    @classmethod
    def decode(cls, text: str) -> Run:
        """Read back `encode`."""
        first, *objects = json.loads(text)
        return cls(tuple(Found(*item) for item in objects), first)


Work = Callable[[Run, Places], bytes]
"""What is done with a run: a module's own function, or a partial of one, so that it can be sent to another process."""


class Engine(Protocol):
    """Does work on runs."""

    @property
    def slots(self) -> int:
        """Runs that it does at the same time."""
        ...

    def map(self, work: Work, runs: Sequence[Run]) -> list[bytes]:
        """Return what the work gives of each run, in the runs' order.

        Raises:
            DriftsondeError: what the work says of the first run that it cannot be done on.
        """
        ...


@dataclass(frozen=True)
class OneProcess:
    """This process, one run after the other."""

    places: Places
    slots: int = 1

    def map(self, work: Work, runs: Sequence[Run]) -> list[bytes]:
        """Do the work here."""
        return [finished(attempt(work, run, self.places)) for run in runs]


def cut(objects: Sequence[Found], count: int) -> list[Run]:
    """Cut objects into at most so many runs of about as many bytes; what comes of the runs does not depend on where."""
    total = sum(found.size + _OPENING for found in objects)
    begun = [0, *accumulate(found.size + _OPENING for found in objects)]
    runs: dict[int, list[Found]] = {}
    for found, start in zip(objects, begun, strict=False):
        runs.setdefault(start * count // max(total, 1), []).append(found)
    return [Run(tuple(runs[place])) for place in sorted(runs)]


def numbered(runs: Sequence[Run], rows: Iterable[int]) -> list[Run]:
    """Give each run the number of its first row, from how many rows each has."""
    return [replace(run, first=first) for run, first in zip(runs, accumulate(rows, initial=0), strict=False)]


def attempt(work: Work, run: Run, places: Places) -> tuple[bytes, str]:
    """Return what the work gives, or why it never will; what may work the next time is raised, for the engine to try again."""
    try:
        return work(run, places), ""
    except RetryableError:
        raise
    except (DriftsondeError, ValueError) as exc:
        return b"", str(exc) or type(exc).__name__


def finished(outcome: tuple[bytes, str]) -> bytes:
    """Return what the work gave.

    Raises:
        DriftsondeError: if it gave a reason why not.
    """
    data, error = outcome
    if error:
        raise DriftsondeError(error)
    return data


def framed(head: Mapping[str, object], parts: Iterable[bytes]) -> bytes:
    """Put some facts and parts together into one piece."""
    given = list(parts)
    return json.dumps({**head, "sizes": [len(part) for part in given]}).encode() + b"\n" + b"".join(given)


def unframed(data: bytes) -> tuple[dict[str, object], list[bytes]]:
    """Read back `framed`."""
    line, _, rest = data.partition(b"\n")
    head = json.loads(line)
    ends = list(accumulate(head.pop("sizes"), initial=0))
    return head, [rest[begin:end] for begin, end in pairwise(ends)]
