"""The new model takes over at once. Also the frame of every deployment that only replaces: canary and linear add a guard."""

from __future__ import annotations

from driftsonde.core.config import Hosting
from driftsonde.retrainer.deploy.model import Ask, Case, Request, Source, Step, concluded, replacing


class Replace:
    """One configuration, asked for once; how traffic moves to it is SageMaker's work.

    Args:
        guard: SageMaker's DeploymentConfig; None moves all traffic at once, without a watch.
    """

    def __init__(self, compute: Hosting, guard: Request | None = None) -> None:
        self._compute, self._guard = compute, guard

    def source(self, case: Case) -> Source | None:
        """SageMaker and its alarms decide: nothing."""
        return None

    def step(self, case: Case) -> Step:
        """Ask, then see what became of it. A new endpoint has no old fleet to move traffic from, and so no guard."""
        return concluded(case) or Ask(replacing(case, self._compute), self._guard if case.endpoint else None)
