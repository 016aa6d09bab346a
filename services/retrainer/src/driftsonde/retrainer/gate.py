"""Whether a challenger becomes champion. Pure."""

from __future__ import annotations

from driftsonde.core.config import Gate
from driftsonde.core.events import Scores


def passes(gate: Gate, scores: Scores) -> tuple[bool, str]:
    """Compare challenger and champion on the same held-out rows.

    Returns:
        Whether the challenger is promoted, and why, for people.
    """
    if scores.rows < gate.minimum_rows:
        return False, f"only {scores.rows} held-out rows, {gate.minimum_rows} are needed"
    if scores.champion is None:
        return True, "there was no champion"
    gain = (scores.challenger - scores.champion) * (1 if gate.direction == "max" else -1)
    how = f"{gate.metric} {scores.challenger:.4f} against {scores.champion:.4f} on {scores.rows} held-out rows"
    if gain > gate.margin:
        return True, f"challenger is better: {how}"
    return False, f"challenger is not better by more than {gate.margin:g}: {how}"
