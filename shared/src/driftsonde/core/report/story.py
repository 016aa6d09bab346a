"""What happened, in words: since when, and what was done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from driftsonde.core.events import (
    Alarm,
    ApprovalRequested,
    BaselineAdopted,
    BatchFinished,
    DecisionRecorded,
    DeliveryFinished,
    DeploymentFinished,
    DeploymentStarted,
    DriftResolved,
    Event,
    Fact,
    ModelHeld,
    ModelPromoted,
    PlanAccepted,
    PlanRefused,
    PlanWaiting,
    Scores,
    TrainingFailed,
    TrainingStarted,
    TrainingSucceeded,
    VerdictRevised,
)
from driftsonde.core.report.model import Gate, Step
from driftsonde.core.text import clean

LINE = 300


def moment(time: datetime | str | None) -> str:
    """Return a time for people, in its own zone (the API's is UTC); empty for none."""
    if not time:
        return ""
    try:
        at = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        return clean(str(time), 40)
    return f"{at:%Y-%m-%d %H:%M} {at.tzname() or ''}".rstrip()


def of_episode(events: Sequence[Event], number: int) -> list[Event]:
    """Return the events of an episode in their order, with the baseline that its model brought."""
    mine = [event for event in events if event.data.episode == number]
    models = {event.data.model for event in mine if isinstance(event.data, ModelPromoted)}
    adopted = [event for event in events if isinstance(event.data, BaselineAdopted) and event.data.baseline.model in models]
    return sorted([*mine, *adopted], key=lambda event: (event.time, event.data.sequence))


def answer(events: Sequence[Event]) -> str:
    """Say what was done about an episode: the last thing that the retrainer said of it."""
    said = [_ANSWERS[type(event.data)](event.data) for event in events if type(event.data) in _ANSWERS]
    closed = next((event for event in events if isinstance(event.data, DriftResolved)), None)
    if not said and any(event.data.TYPE == "data.untrusted" for event in events):
        said = ["nothing is trained on such data"]
    parts = said[-1:] or ["no training was planned"]
    if closed and isinstance(closed.data, DriftResolved):
        parts.append(f"it ended on {moment(closed.time)} ({closed.data.cause})")
    return "; ".join(parts)


def steps(events: Sequence[Event]) -> list[Step]:
    """Return what is told of each event, oldest first."""
    kinds = {event.id: event.data.TYPE for event in events}
    return [
        Step(moment(event.time), event.data.SOURCE, _TITLES[event.data.TYPE], clean(_detail(event.data, kinds), LINE))
        for event in events
        if event.data.TYPE in _TITLES
    ]


def gate_of(events: Sequence[Event]) -> Gate | None:
    """Return how the last challenger compared with the champion."""
    found: Gate | None = None
    for event in events:
        data = event.data
        if isinstance(data, ModelPromoted | ModelHeld):
            scores = data.scores
            found = Gate(
                clean(scores.metric), scores.direction, scores.champion, scores.challenger, scores.margin, scores.rows,
                isinstance(data, ModelPromoted),
            )  # fmt: skip
    return found


def _scores(scores: Scores) -> str:
    before = "" if scores.champion is None else f"{scores.champion:.4f} → "
    return f"{clean(scores.metric)} {before}{scores.challenger:.4f} on {scores.rows:,} held-out rows"


def _because(reason: str) -> str:
    return f": {clean(reason, 120)}" if reason else ""


_ANSWERS: Final[dict[type[Fact], Callable[[Any], str]]] = {
    PlanAccepted: lambda data: "training is planned",
    PlanWaiting: lambda data: f"training waits until {moment(data.until)}{_because(data.reason)}",
    ApprovalRequested: lambda data: f"people were asked whether to train, until {moment(data.until)}",
    PlanRefused: lambda data: f"nothing was trained{_because(data.reason)}",
    TrainingStarted: lambda data: "a challenger is being trained",
    TrainingSucceeded: lambda data: "a challenger was trained",
    TrainingFailed: lambda data: f"training failed{_because(data.reason)}",
    ModelPromoted: lambda data: f"a new model was promoted ({_scores(data.scores)})",
    ModelHeld: lambda data: f"a challenger was trained and not promoted ({_scores(data.scores)})",
    DeploymentStarted: lambda data: f"a challenger is being brought to the endpoint {clean(data.endpoint)}",
    DeploymentFinished: lambda data: f"the challenger {'serves' if data.outcome == 'live' else 'was rolled back'}{_because(data.reason)}",
}

_TITLES: Final = {
    "drift.detected": "episode opened", "data.untrusted": "episode opened", "drift.resolved": "episode closed",
    "verdict.revised": "verdict revised", "drift.confirmed": "drift confirmed", "decision.recorded": "decision",
    "approval.requested": "approval asked for", "deployment.started": "deployment started", "deployment.finished": "deployment", "plan.accepted": "plan accepted", "plan.waiting": "plan waits", "plan.refused": "plan refused",
    "training.started": "training started", "training.succeeded": "training finished", "training.failed": "training failed",
    "model.promoted": "gate: promoted", "model.held": "gate: held", "batch.finished": "batch transform",
    "baseline.adopted": "baseline adopted", "delivery.finished": "message",
}  # fmt: skip


def _detail(data: Fact, kinds: Mapping[str, str]) -> str:
    told: dict[type[Fact], Callable[[Any], str]] = {
        Alarm: lambda d: d.summary,
        DriftResolved: lambda d: d.cause,
        VerdictRevised: lambda d: f"{d.window.id}: {d.before} → {d.after}",
        DecisionRecorded: lambda d: d.text,
        ApprovalRequested: lambda d: f"until {moment(d.until)}",
        DeploymentStarted: lambda d: f"{d.model} to {d.endpoint} ({d.strategy})",
        DeploymentFinished: lambda d: f"{d.model}{d.endpoint and f' on {d.endpoint}'}: {d.outcome.replace('_', ' ')}{_because(d.reason)}",
        PlanWaiting: lambda d: f"until {moment(d.until)}{_because(d.reason)}",
        TrainingStarted: lambda d: d.job,
        TrainingSucceeded: lambda d: f"{d.job}  {', '.join(f'{name} {value:.4f}' for name, value in sorted(d.metrics.items()))}",
        TrainingFailed: lambda d: f"{d.job}{_because(d.reason)}",
        ModelPromoted: lambda d: f"{d.model}: {_scores(d.scores)}",
        ModelHeld: lambda d: f"{d.model}: {_scores(d.scores)}",
        BatchFinished: lambda d: f"{d.state}{_because(d.reason)}, {d.output}",
        BaselineAdopted: lambda d: f"version {d.baseline.version}, {d.baseline.rows:,} rows, {d.baseline.digest[:12]}…",
        DeliveryFinished: lambda d: f"{kinds.get(d.event_id, d.event_id[:8])} to {d.channel}: {d.outcome}{_because(d.detail)}",
    }
    return next((text(data) for kind, text in told.items() if isinstance(data, kind)), getattr(data, "reason", ""))
