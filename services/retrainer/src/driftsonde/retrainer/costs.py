"""What a plan costs: instance prices times the time that jobs take. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from driftsonde.core.config import Budget, Compute, Recipe
from driftsonde.core.events import Estimate

STEPS: Final = ("prepare", "train", "evaluate", "transform", "execute")
_HOUR: Final = 3600.0


def compute_of(recipe: Recipe, step: str) -> Compute:
    """Return what a step runs on."""
    if step == "train":
        return recipe.training.compute
    return recipe.batch.compute if step == "transform" else recipe.steps.compute


def limit(recipe: Recipe, step: str) -> float:
    """Return how many seconds of a step's job can be paid for: a tuning job's are those of all its training jobs."""
    jobs = recipe.training.tune.jobs if step == "train" and recipe.training.tune is not None else 1
    return jobs * compute_of(recipe, step).max_runtime.total_seconds()


def estimate(recipe: Recipe, past: Mapping[str, Sequence[float]], budget: Budget) -> Estimate:
    """Say what a plan will cost, from what its monitor's jobs took before.

    Args:
        past: seconds of the latest jobs of each step; of a step without any its limit is taken.
    """
    if recipe.run is not None:  # what it runs on is not known here, so neither is what that costs
        taken = past.get("execute")
        length = median(taken) if taken else recipe.run.timeout.total_seconds()
        return Estimate(seconds=length, amount=None, currency=budget.currency, at_most=not taken)
    steps = [step for step in STEPS if step != "execute" and (step != "transform" or recipe.batch.enabled)]
    seconds = {step: median(past[step]) if past.get(step) else limit(recipe, step) for step in steps}
    types = {compute_of(recipe, step).instance_type for step in steps}
    unpriced = tuple(sorted(types - budget.prices.keys()))
    return Estimate(
        seconds=sum(seconds.values()),
        amount=None if unpriced else sum(cost(recipe, step, taken, budget) for step, taken in seconds.items()),
        currency=budget.currency,
        at_most=any(not past.get(step) for step in steps),
        unpriced=unpriced,
    )


def cost(recipe: Recipe, step: str, seconds: float, budget: Budget) -> float:
    """Return what a job cost; 0 where its instance has no price, or is not known, as of an execution."""
    if step == "execute":
        return 0.0
    compute = compute_of(recipe, step)
    instances = compute.instance_count if step in ("train", "transform") else 1
    return budget.prices.get(compute.instance_type, 0.0) * instances * seconds / _HOUR
