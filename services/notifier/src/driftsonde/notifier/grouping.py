"""Who is told what, and what is too old to tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Literal

from driftsonde.core.config import Config
from driftsonde.core.events import (
    BatchFinished,
    DataUntrusted,
    DriftDetected,
    DriftResolved,
    DropRejected,
    Fact,
    ModelHeld,
    ModelPromoted,
    PlanRefused,
    PlanWaiting,
    TrainingFailed,
)

Severity = Literal["info", "warning", "critical"]

# Few messages on purpose: that a plan was accepted or a job started is followed, hours later at most, by how it ended.
TOLD: Final[Mapping[type[Fact], Severity]] = {
    DriftDetected: "warning",
    DataUntrusted: "critical",
    DriftResolved: "info",
    DropRejected: "warning",
    PlanWaiting: "info",
    PlanRefused: "warning",
    TrainingFailed: "critical",
    ModelPromoted: "info",
    ModelHeld: "info",
    BatchFinished: "info",
}
TOLD_TYPES: Final[tuple[str, ...]] = tuple(fact.TYPE for fact in TOLD)

_REJECTED_EVERY = timedelta(hours=1)
_WAITING_EVERY = timedelta(hours=24)
_REASON_CHARS = 40


@dataclass(frozen=True, slots=True)
class Incident:
    """What is known of one episode: whether it is over, and the highest sequence seen from each source."""

    state: Literal["open", "resolved"] = "open"
    sequences: Mapping[str, int] = field(default_factory=dict)

    def is_stale(self, fact: Fact) -> bool:
        """Tell whether `fact` is older than what is known; an episode is never opened twice."""
        reopens = self.state == "resolved" and isinstance(fact, DriftDetected | DataUntrusted)
        return reopens or fact.sequence < self.sequences.get(fact.SOURCE, 0)

    def advance(self, fact: Fact) -> Incident:
        """Return the incident after `fact`, whatever order facts arrive in."""
        highest = max(fact.sequence, self.sequences.get(fact.SOURCE, 0))
        state = "resolved" if isinstance(fact, DriftResolved) else self.state
        return replace(self, state=state, sequences={**self.sequences, fact.SOURCE: highest})


def channels_for(config: Config, fact: Fact) -> tuple[str, ...]:
    """Return the channels that are told `fact`, each once; none for what is not told or a monitor that is not configured."""
    monitor = config.monitor(fact.monitor)
    if monitor is None or type(fact) not in TOLD:
        return ()
    return tuple(dict.fromkeys(monitor.notify))


def group_key(fact: Fact) -> str:
    """Return `monitor/episode`, or the monitor alone for what belongs to no episode. Order is kept within a group."""
    return fact.monitor if fact.episode is None else f"{fact.monitor}/{fact.episode}"


def severity(fact: Fact) -> Severity:
    """Return how urgent a fact is; a failed batch transform more than a finished one."""
    if isinstance(fact, BatchFinished) and fact.state == "failed":
        return "critical"
    return TOLD.get(type(fact), "info")


def folding(fact: Fact) -> tuple[str, timedelta] | None:
    """Return the key under which a group is told once per period, for the two kinds that repeat; None for the others.

    A broken producer rejects thousands of drops for one reason; a waiting plan is decided again and again.
    """
    if isinstance(fact, DropRejected):
        return f"{fact.TYPE}/{fact.reason[:_REASON_CHARS]}", _REJECTED_EVERY
    if isinstance(fact, PlanWaiting):
        return f"{fact.TYPE}/{fact.reason[:_REASON_CHARS]}", _WAITING_EVERY
    return None
