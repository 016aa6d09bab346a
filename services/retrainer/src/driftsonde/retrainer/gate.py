"""Whether a challenger becomes champion. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from pydantic import ValidationError

from driftsonde.core.config import Gate, explain
from driftsonde.core.errors import ConfigError
from driftsonde.core.events import Scores


def scores_of(gate: Gate, metrics: Mapping[str, Any]) -> Scores:
    """Read what the evaluate step wrote.

    Raises:
        ConfigError: if something in it is not what it should be: the step, perhaps the user's own, is wrong.
    """
    measured = {key: metrics.get(key) for key in ("challenger", "champion", "rows", "interval", "confidence")}
    try:
        return Scores.model_validate(
            {
                "metric": gate.metric,
                "direction": gate.direction,
                "margin": gate.margin,
                "importance": _shares(metrics.get("importance") or {}),
                **measured,
            }
        )
    except ValidationError as exc:
        raise ConfigError(f"metrics.json of the evaluate step: {explain(exc)}") from exc


def _shares(importance: Any) -> Any:
    """Return shares of what may be gains of any size: a step of the user's own need not have divided them by their sum."""
    if not isinstance(importance, dict) or not all(isinstance(value, int | float) and 0 <= value < inf for value in importance.values()):
        return importance  # for the model to refuse
    total = sum(importance.values())
    return {name: value / total for name, value in importance.items()} if total > 1 else importance


def passes(gate: Gate, scores: Scores) -> tuple[bool, str]:
    """Compare challenger and champion on the same held-out rows.

    Returns:
        Whether the challenger is promoted, and why, for people.
    """
    if scores.rows < gate.minimum_rows:
        return False, f"only {scores.rows} held-out rows, {gate.minimum_rows} are needed"
    if scores.champion is None:
        return True, "there was no champion"
    low, high = scores.interval or (scores.challenger - scores.champion,) * 2
    # Higher is better or lower is: what surely is gained is the near end of the interval either way.
    gain = low if gate.direction == "max" else -high
    how = f"{gate.metric} {scores.challenger:.4f} against {scores.champion:.4f} on {scores.rows} held-out rows"
    if scores.interval:
        how += f"; the difference is {low:+.4f} to {high:+.4f} ({scores.confidence or gate.confidence:.0%} on each side)"
    if gain > gate.margin:
        return True, f"challenger is better: {how}"
    return False, f"challenger is not clearly better by more than {gate.margin:g}: {how}"
