"""Whether an episode is answered with training now, later or never. Pure: everything it needs is given to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from driftsonde.core.config import Budget, RetrainPolicy
from driftsonde.core.events import Problem
from driftsonde.core.hours import end_of, is_within

Reason = Literal[
    "cooldown",
    "monitor_budget",
    "budget",
    "spend",
    "single_flight",
    "quota",
    "quiet_hours",
    "unconfirmed",
    "approval",
    "rejected",
    "expired",
    "missing_labels",
    "untrusted",
    "unreadable",
    "fix_data",
    "unimportant",
    "disabled",
    "episode_over",
    "no_recipe",
]
REASONS: Final[tuple[Reason, ...]] = (
    "cooldown", "monitor_budget", "budget", "spend", "single_flight", "quota", "quiet_hours", "unconfirmed", "approval", "rejected",
    "expired", "missing_labels", "untrusted", "unreadable", "fix_data", "unimportant", "disabled", "episode_over", "no_recipe",
)  # fmt: skip
Approval = Literal["none", "asked", "approved", "rejected", "expired"]

SOON: Final = timedelta(minutes=1)
LATER: Final = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision depends on.

    Args:
        trainable: whether a distribution moved while nothing says that the data is broken.
        problems: what is wrong with the data of the window that alarmed.
        episode_open: whether the episode still goes on.
        untrusted: whether the monitor has an open episode of broken data.
        unreadable: when a drop of this monitor was last rejected.
        confirmed: whether the drift has gone on for as long as the policy asks for.
        importance: share of the champion's importance that the drifted columns have; None where it is not known.
        in_flight: whether another plan of this monitor is at work.
        last_training: when this monitor last trained.
        trainings: when trainings of this monitor began in the last day, oldest first.
        all_trainings: the same for all monitors.
        spent: what the jobs of the last 30 days cost, and those that run may yet, in the budget's currency.
        expected: what this plan would cost; None where a price is missing.
        approval: what was said to the question whether to train.
        approval_until: when the question expires, once it was asked.
    """

    trainable: bool
    episode_open: bool
    untrusted: bool
    in_flight: bool
    last_training: datetime | None
    trainings: tuple[datetime, ...]
    all_trainings: tuple[datetime, ...]
    problems: tuple[Problem, ...] = ()
    unreadable: datetime | None = None
    confirmed: bool = False
    importance: float | None = None
    spent: float = 0.0
    expected: float | None = None
    approval: Approval = "none"
    approval_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Proceed:
    """Train now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; decide again at `until`."""

    reason: Reason
    until: datetime


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never."""

    reason: Reason


Decision = Proceed | Wait | Refuse


def decide(policy: RetrainPolicy | None, budget: Budget, situation: Situation, now: datetime) -> Decision:
    """Decide about a plan that has not begun. What can never change comes first; people are asked last."""
    if policy is None:
        return Refuse("no_recipe")
    if not policy.enabled:
        return Refuse("disabled")
    if not situation.episode_open:
        return Refuse("episode_over")
    return (
        _data(policy, situation, now)
        or _drift(policy, situation, now)
        or _limits(policy, budget, situation, now)
        or _people(policy, situation, now)
        or Proceed()
    )


def _data(policy: RetrainPolicy, situation: Situation, now: datetime) -> Decision | None:
    """Broken data is never trained on."""
    if situation.untrusted:
        return Refuse("untrusted")
    # An event that was cut, or comes from an older detector, says that the data is broken and not why.
    kinds = {problem.kind for problem in situation.problems}
    if not situation.trainable and not (kinds and kinds <= set(policy.tolerate)):
        return Refuse("fix_data")
    if situation.unreadable is not None and now - situation.unreadable < LATER and "unreadable" not in policy.tolerate:
        return Wait("unreadable", situation.unreadable + LATER)
    return None


def _drift(policy: RetrainPolicy, situation: Situation, now: datetime) -> Decision | None:
    """Not every drift is worth a training."""
    if situation.importance is not None and situation.importance < policy.min_importance:
        return Refuse("unimportant")
    if policy.confirm is not None and not situation.confirmed:
        return Wait("unconfirmed", now + LATER)
    return None


def _limits(policy: RetrainPolicy, budget: Budget, situation: Situation, now: datetime) -> Decision | None:
    """Neither storms nor surprises on the bill."""
    if situation.in_flight:
        return Wait("single_flight", now + SOON)
    if situation.last_training is not None and now - situation.last_training < policy.cooldown:
        return Wait("cooldown", situation.last_training + policy.cooldown)
    if len(situation.trainings) >= policy.max_per_day:
        return Wait("monitor_budget", situation.trainings[-policy.max_per_day] + _DAY)
    if budget.training_jobs_per_day == 0:
        return Wait("budget", now + _DAY)
    if len(situation.all_trainings) >= budget.training_jobs_per_day:
        return Wait("budget", situation.all_trainings[-budget.training_jobs_per_day] + _DAY)
    if budget.spend_per_month is not None and (situation.expected is None or situation.spent + situation.expected > budget.spend_per_month):
        return Wait("spend", now + LATER)
    return None


def _people(policy: RetrainPolicy, situation: Situation, now: datetime) -> Decision | None:
    """When they sleep, and what they say."""
    if policy.approval == "ask":
        if situation.approval == "rejected":
            return Refuse("rejected")
        if situation.approval == "expired":
            return Refuse("expired")
        if situation.approval != "approved":
            return Wait("approval", situation.approval_until or now + policy.approval_expires)
    if policy.quiet is not None and is_within(policy.quiet, now):
        return Wait("quiet_hours", end_of(policy.quiet, now))
    return None


EXPLANATIONS: Final[dict[str, str]] = {
    "cooldown": "the monitor trained a short while ago",
    "monitor_budget": "the monitor has used its trainings of the day",
    "budget": "all trainings of the day are used",
    "spend": "the expected cost does not fit into what may be spent in 30 days, or a price is missing",
    "single_flight": "another plan of this monitor is at work",
    "quota": "SageMaker's quota is used up",
    "quiet_hours": "nothing is begun in quiet hours",
    "unconfirmed": "too few windows alarm so far",
    "approval": "somebody has to say yes",
    "rejected": "somebody said no",
    "expired": "nobody said yes in time",
    "missing_labels": "too few rows have a label",
    "untrusted": "the data is broken; broken data is never trained on",
    "unreadable": "a drop could not be read a short while ago; the data may be broken",
    "fix_data": "the data needs fixing, not the model",
    "unimportant": "what drifted matters little to the champion",
    "disabled": "retraining is switched off for this monitor",
    "episode_over": "the episode ended before training began",
    "no_recipe": "the monitor has no retrain section",
}
