"""The decision record: what is done about an episode, and why, for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from driftsonde.core.config import Budget, Monitor, RetrainPolicy
from driftsonde.core.events import (
    MAX_CHECKS,
    Alarm,
    Answer,
    DataUntrusted,
    DecisionRecorded,
    DriftDetected,
    DriftedColumn,
    Estimate,
    Problem,
)
from driftsonde.retrainer.planner import EXPLANATIONS, Decision, Proceed, Situation, Wait

_ANSWERS: Final[Mapping[str, Answer]] = {
    "untrusted": "fix_data", "unreadable": "fix_data", "fix_data": "fix_data", "missing_labels": "collect_labels", "approval": "ask",
}  # fmt: skip
_FIRST: Final[Mapping[Answer, str]] = {
    "retrain": "Retrain",
    "wait": "Wait",
    "fix_data": "Fix the data",
    "collect_labels": "Collect labels",
    "ask": "Ask",
    "ignore": "Ignore",
}


def answer_of(decision: Decision) -> tuple[Answer, str]:
    """Return the answer that people read, and the reason in one word."""
    if isinstance(decision, Proceed):
        return "retrain", "drift"
    return _ANSWERS.get(decision.reason, "wait" if isinstance(decision, Wait) else "ignore"), decision.reason


def record(
    monitor: Monitor | None, drift: DriftDetected, decision: Decision, situation: Situation, budget: Budget, *,
    importances: Mapping[str, float], cost: Estimate | None, revision: int, executes: bool = False,
) -> DecisionRecorded:  # fmt: skip
    """Return the record of a decision about an episode of drift.

    Args:
        importances: share of the champion's importance by column; empty where it is not known.
        revision: of the record; the first is 1.
        executes: whether the recipe starts a pipeline or state machine.
    """
    answer, reason = answer_of(decision)
    return DecisionRecorded(
        monitor=drift.monitor, episode=drift.episode, sequence=revision, kind="drift", answer=answer, reason=reason,
        text=_text(answer, reason, drift.problems, cost),
        until=decision.until if isinstance(decision, Wait) else None,
        drifted=_drifted(drift, importances), importance=situation.importance, problems=drift.problems,
        labels=_labels(monitor, executes=executes), policy=_policy(monitor.retrain if monitor else None, budget, situation), cost=cost,
    )  # fmt: skip


def of_untrusted(fact: DataUntrusted) -> DecisionRecorded:
    """Return the record of an episode of broken data: there is nothing to decide."""
    return DecisionRecorded(
        monitor=fact.monitor, episode=fact.episode, kind="untrusted", answer="fix_data", reason="untrusted",
        text=_text("fix_data", "untrusted", fact.problems, None),
        drifted=_drifted(fact, {}), problems=fact.problems,
    )  # fmt: skip


def why(reason: str, problems: Sequence[Problem]) -> str:
    """Say why an answer is given; of broken data, what is broken."""
    if reason in ("fix_data", "untrusted") and problems:
        return "the data is broken: " + "; ".join(problem.text for problem in problems)
    return EXPLANATIONS.get(reason, "the inputs have left what the champion was trained on")


def share_of(columns: Sequence[str], importances: Mapping[str, float]) -> float | None:
    """Return how much of the champion's importance some columns have; None where it is not known."""
    return min(1.0, sum(importances.get(column, 0.0) for column in columns)) if importances else None


def _text(answer: Answer, reason: str, problems: Sequence[Problem], cost: Estimate | None) -> str:
    price = f" Expected: {cost.in_words()}." if cost is not None and answer in ("retrain", "ask") else ""
    return f"{_FIRST[answer]}: {why(reason, problems)}.{price}"


def _drifted(alarm: Alarm, importances: Mapping[str, float]) -> tuple[DriftedColumn, ...]:
    worst: dict[str, Any] = {}
    for check in (*alarm.checks, *alarm.more):
        worst.setdefault(check.column, check)
    found = [
        DriftedColumn(
            column=name, check=check.check, score=check.score, threshold=check.threshold,
            importance=importances.get(name, 0.0) if importances else None,
        )
        for name, check in worst.items()
    ]  # fmt: skip
    # Sorted by importance alone: what is equally important stays in the order of how far it moved.
    return tuple(sorted(found, key=lambda column: -(column.importance or 0.0))[:MAX_CHECKS])


def _labels(monitor: Monitor | None, *, executes: bool) -> str:
    label = monitor.columns.label if monitor else None
    if executes:
        return "What is started sees to labels itself."
    if label is None:
        return "No label column is configured: nothing can be trained."
    return f"Column {label}; how many rows have it is counted when the training data is prepared."


def _policy(policy: RetrainPolicy | None, budget: Budget, situation: Situation) -> tuple[str, ...]:
    if policy is None:
        return ()
    last = f"last training {situation.last_training:%Y-%m-%d %H:%M %Z}" if situation.last_training else "never trained so far"
    said = [
        f"Cooldown {policy.cooldown}: {last}.",
        f"At most {policy.max_per_day} trainings a day of this monitor: {len(situation.trainings)} used.",
        f"At most {budget.training_jobs_per_day} trainings a day of all monitors: {len(situation.all_trainings)} used.",
    ]
    if budget.spend_per_month is not None:
        said.append(f"At most {budget.spend_per_month:,.2f} {budget.currency} in 30 days: {situation.spent:,.2f} spent or under way.")
    if policy.confirm:
        said.append(
            f"{policy.confirm.windows} of {policy.confirm.of} windows must alarm: {'they do' if situation.confirmed else 'not yet'}."
        )
    if policy.quiet:
        said.append(f"Quiet from {policy.quiet.start:%H:%M} to {policy.quiet.end:%H:%M} {policy.quiet.tz}.")
    if policy.approval == "ask":
        said.append(f"Approval: {situation.approval}.")
    if policy.min_importance:
        said.append(f"Drift of less than {policy.min_importance:.0%} of the champion's importance is ignored.")
    if policy.tolerate:
        said.append(f"Tolerated: {', '.join(policy.tolerate)}.")
    return tuple(said)
