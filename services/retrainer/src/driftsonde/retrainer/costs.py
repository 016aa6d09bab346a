"""What a plan costs: instance prices times the time that jobs take. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from driftsonde.core.config import Budget, Compute, Recipe
from driftsonde.core.events import Estimate

STEPS: Final = ("prepare", "train", "evaluate", "transform")
_HOUR: Final = 3600.0


def compute_of(recipe: Recipe, step: str) -> Compute:
    """Return what a step runs on."""
    if step == "train":
        return recipe.training.compute
    return recipe.batch.compute if step == "transform" else recipe.steps.compute


def estimate(recipe: Recipe, past: Mapping[str, Sequence[float]], budget: Budget) -> Estimate:
    """Say what a plan will cost, from what its monitor's jobs took before.

    Args:
        past: seconds of the latest jobs of each step; of a step without any its limit is taken.
    """
    steps = [step for step in STEPS if step != "transform" or recipe.batch.enabled]
    seconds = {step: median(past[step]) if past.get(step) else compute_of(recipe, step).max_runtime.total_seconds() for step in steps}
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
    """Return what a job cost; 0 where its instance has no price."""
    compute = compute_of(recipe, step)
    instances = compute.instance_count if step in ("train", "transform") else 1
    return budget.prices.get(compute.instance_type, 0.0) * instances * seconds / _HOUR
