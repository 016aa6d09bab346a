"""Thompson sampling of two arms: how likely the new model is the better one, and what traffic that earns it. Pure."""

from __future__ import annotations

import random

from driftsonde.retrainer.deploy.evidence import Tally

DRAWS = 4000
"""Standard error of the probability: at most 0.008."""


def better(challenger: Tally, incumbent: Tally, seed: str) -> float:
    """Return the probability that the challenger's mean reward is higher.

    Each mean has a Beta posterior over the uniform prior Beta(1, 1); a reward between 0 and 1 counts as that part of a success.
    The same seed gives the same answer, so that replicas agree.
    """
    draw = random.Random(seed)
    return sum(_draw(draw, challenger) > _draw(draw, incumbent) for _ in range(DRAWS)) / DRAWS


def _draw(source: random.Random, tally: Tally) -> float:
    return source.betavariate(1 + tally.total, 1 + tally.rows - tally.total)


def share(probability: float, floor: float) -> float:
    """Return the challenger's share of the traffic, to three digits: its probability, but each arm keeps `floor`."""
    return round(min(1 - floor, max(floor, probability)), 3)
