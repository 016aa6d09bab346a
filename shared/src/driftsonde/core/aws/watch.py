"""How much waits in queues: asked in the background, so that no request for a page or for metrics becomes one of SQS."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from driftsonde.core.aws.queue import Counts
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock

log = get_logger(__name__)

ASK_EVERY: Final = 15.0
_PATIENCE: Final = 5.0  # a stop waits for it


class Countable(Protocol):
    """A queue that knows about how many messages it has."""

    async def counts(self) -> Counts:
        """Raise `DriftsondeError` when it cannot be asked."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What a queue said last.

    Args:
        at: when; None if it never answered.
        problem: why it did not answer when it was last asked.
        is_letters: whether what waits in it waits for people.
    """

    name: str
    is_letters: bool
    counts: Counts | None = None
    at: datetime | None = None
    problem: str = "not asked yet"


class QueueWatch:
    """Remembers what the queues said.

    Args:
        queues: their names, and whether what waits there waits for people.
    """

    def __init__(self, clock: Clock, queues: Mapping[str, bool]) -> None:
        self._clock = clock
        self._seen = {name: Seen(name, is_letters) for name, is_letters in queues.items()}

    @property
    def seen(self) -> Sequence[Seen]:
        """What each said last."""
        return tuple(self._seen.values())

    def by_state(self) -> dict[tuple[str, str], float]:
        """Return the counts by queue and state, for a gauge; of a queue that did not answer there are none."""
        return {
            (seen.name, state): float(count)
            for seen in self.seen
            if seen.counts is not None and not seen.problem
            for state, count in seen.counts._asdict().items()
        }

    async def ask(self, queues: Mapping[str, Countable]) -> None:
        """Ask each queue; one that does not answer leaves what it said before."""
        for name, queue in queues.items():
            before = self._seen[name]
            try:
                async with asyncio.timeout(_PATIENCE):
                    counts = await queue.counts()
            except (DriftsondeError, TimeoutError) as exc:
                problem = "SQS does not answer; the log says why"
                if before.problem != problem:  # once, not every time
                    log.warning("cannot count what waits in a queue", queue=name, error=str(exc) or type(exc).__name__)
                self._seen[name] = replace(before, problem=problem)
            else:
                self._seen[name] = replace(before, counts=counts, at=self._clock.now(), problem="")
