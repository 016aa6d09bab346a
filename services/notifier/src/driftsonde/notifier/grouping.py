"""Who is told what, and what is too old to tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from driftsonde.core.config import ChannelConfig, Config, Severity
from driftsonde.core.errors import ConfigError
from driftsonde.core.events import (
    ApprovalRequested,
    BatchFinished,
    DataUntrusted,
    DeploymentFinished,
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
from driftsonde.core.ports import Outcome
from driftsonde.notifier.quiet import at_least

# Few messages on purpose: that a plan was accepted or a job started is followed, hours later at most, by how it ended.
TOLD: Final[Mapping[type[Fact], Severity]] = {
    DriftDetected: "warning",
    DataUntrusted: "critical",
    DriftResolved: "info",
    DropRejected: "warning",
    ApprovalRequested: "warning",
    PlanWaiting: "info",
    PlanRefused: "warning",
    TrainingFailed: "critical",
    ModelPromoted: "info",
    ModelHeld: "info",
    DeploymentFinished: "info",
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


class Recorded(NamedTuple):
    """What became of an event: its outcome, and the channels it is queued and silenced for."""

    outcome: Outcome
    queued: tuple[str, ...] = ()
    silenced: tuple[str, ...] = ()


def channels_for(config: Config, fact: Fact) -> tuple[str, ...]:
    """Return the channels that are told `fact`, each once; none for what is not told or a monitor that is not configured."""
    monitor = config.monitor(fact.monitor)
    if monitor is None or type(fact) not in TOLD:
        return ()
    return tuple(name for name in dict.fromkeys(monitor.notify) if wants(config.channels[name], fact))


def wants(channel: ChannelConfig, fact: Fact) -> bool:
    """Tell whether a channel is told facts of this type and urgency."""
    return (not channel.events or fact.TYPE in channel.events) and _urgency(fact) in at_least(channel.severity)


def check_events(config: Config) -> None:
    """See that each channel asks for events that people are told about.

    Raises:
        ConfigError: naming the channel's key.
    """
    for name, channel in config.channels.items():
        for wanted in channel.events:
            if wanted not in TOLD_TYPES:
                raise ConfigError(f"channels.{name}.events: {wanted!r} is told to nobody; there are {', '.join(sorted(TOLD_TYPES))}")


def group_key(fact: Fact) -> str:
    """Return `monitor/episode`, or the monitor alone for what belongs to no episode. Order is kept within a group."""
    return fact.monitor if fact.episode is None else f"{fact.monitor}/{fact.episode}"


def severity(fact: Fact) -> Severity:
    """Return how urgent a fact is; what failed more than what finished."""
    if isinstance(fact, BatchFinished) and fact.state == "failed":
        return "critical"
    if isinstance(fact, DeploymentFinished) and fact.outcome == "rolled_back":
        return "critical"
    return TOLD.get(type(fact), "info")


def _urgency(fact: Fact) -> Severity:
    """Return what routing goes by: who heard of the beginning of an episode hears of its end."""
    if isinstance(fact, DriftResolved):
        return TOLD[DriftDetected if fact.kind == "drift" else DataUntrusted]
    return severity(fact)


def folding(fact: Fact) -> tuple[str, timedelta] | None:
    """Return the key under which a group is told once per period, for the two kinds that repeat; None for the others.

    A broken producer rejects thousands of drops for one reason; a waiting plan is decided again and again.
    """
    if isinstance(fact, DropRejected):
        return f"{fact.TYPE}/{fact.reason[:_REASON_CHARS]}", _REJECTED_EVERY
    if isinstance(fact, PlanWaiting):
        return f"{fact.TYPE}/{fact.reason[:_REASON_CHARS]}", _WAITING_EVERY
    return None
