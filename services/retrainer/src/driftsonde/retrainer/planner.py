"""Whether an episode is answered with training now, later or never. Pure: everything it needs is given to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from driftsonde.core.config import Budget, RetrainPolicy

Reason = Literal[
    "cooldown",
    "monitor_budget",
    "budget",
    "single_flight",
    "quota",
    "missing_labels",
    "untrusted",
    "fix_data",
    "disabled",
    "episode_over",
    "no_recipe",
]
REASONS: Final[tuple[Reason, ...]] = (
    "cooldown", "monitor_budget", "budget", "single_flight", "quota", "missing_labels",
    "untrusted", "fix_data", "disabled", "episode_over", "no_recipe",
)  # fmt: skip

SOON: Final = timedelta(minutes=1)
LATER: Final = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision depends on.

    Args:
        trainable: whether a distribution moved while nulls and invalid values did not.
        episode_open: whether the episode still goes on.
        untrusted: whether the monitor has an open episode of broken data.
        in_flight: whether another plan of this monitor is at work.
        last_training: when this monitor last trained.
        trainings: when trainings of this monitor began in the last day, oldest first.
        all_trainings: the same for all monitors.
    """

    trainable: bool
    episode_open: bool
    untrusted: bool
    in_flight: bool
    last_training: datetime | None
    trainings: tuple[datetime, ...]
    all_trainings: tuple[datetime, ...]


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


def decide(policy: RetrainPolicy | None, budget: Budget, situation: Situation, now: datetime) -> Proceed | Wait | Refuse:
    """Decide about a plan that has not begun. What can never change comes first."""
    if policy is None:
        return Refuse("no_recipe")
    if not policy.enabled:
        return Refuse("disabled")
    if not situation.episode_open:
        return Refuse("episode_over")
    if situation.untrusted:
        return Refuse("untrusted")
    if not situation.trainable:
        return Refuse("fix_data")
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
    return Proceed()


EXPLANATIONS: Final[dict[str, str]] = {
    "cooldown": "the monitor trained a short while ago",
    "monitor_budget": "the monitor has used its trainings of the day",
    "budget": "all trainings of the day are used",
    "single_flight": "another plan of this monitor is at work",
    "quota": "SageMaker's quota is used up",
    "missing_labels": "too few rows have a label",
    "untrusted": "the data is broken; broken data is never trained on",
    "fix_data": "missing, invalid or unseen values rose; the data needs fixing, not the model",
    "disabled": "retraining is switched off for this monitor",
    "episode_over": "the episode ended before training began",
    "no_recipe": "the monitor has no retrain section",
}
