"""Both models answer; the traffic follows the rewards, until one is better with enough certainty or the time is over."""

from __future__ import annotations

from driftsonde.core.config import BanditDeploy
from driftsonde.core.errors import ConfigError
from driftsonde.retrainer.deploy.evidence import Captures, Tally
from driftsonde.retrainer.deploy.model import (
    Ask,
    Case,
    Request,
    Restore,
    Source,
    Stay,
    Step,
    Weigh,
    concluded,
    configuration,
    incumbent,
    replacing,
    variant,
)
from driftsonde.retrainer.deploy.thompson import better, share

_SMALLEST_CHANGE = 0.01
_EVEN = 0.5


class Bandit:
    """Trial configuration with both models as variants of their own names, then the live one or the former one.

    A variant named as its model makes labels of an earlier trial those of nobody.
    """

    def __init__(self, deploy: BanditDeploy) -> None:
        self._deploy = deploy

    def source(self, case: Case) -> Source | None:
        """The rewards, while the trial runs."""
        running = case.endpoint is not None and case.endpoint.config == case.names.trial
        return Source("rewards", self._deploy.labels, self._deploy.reward) if running else None

    def step(self, case: Case) -> Step:
        """Ask for the trial, move weights, and stop."""
        end = concluded(case)
        if end is not None:
            return end
        if case.endpoint is None:
            return Ask(replacing(case, self._deploy.compute))
        if case.endpoint.config != case.names.trial:
            return Ask(self._trial(case))
        challenger, champion = self._tallies(case)
        # By what was counted: the same rewards must not move the weights twice.
        probability = better(challenger, champion, f"{case.seed}/{challenger}/{champion}")
        return self._stop(case, challenger, champion, probability) or self._go_on(case, probability)

    def _trial(self, case: Case) -> Request:
        before = incumbent(case)
        if "ModelName" not in before:
            raise ConfigError("the endpoint's variant has no model of its own (inference components); a bandit cannot compare with it")
        arms = [{**before, "VariantName": before["ModelName"], "InitialVariantWeight": 0.5}]
        arms.append(variant(case.names.model, case.names.model, self._deploy.compute, 0.5))
        return configuration(case, case.names.trial, arms)

    def _tallies(self, case: Case) -> tuple[Tally, Tally]:
        found = case.evidence if case.evidence is not None and not isinstance(case.evidence, Captures) else {}
        return found.get(case.names.model, Tally()), found.get(incumbent(case)["ModelName"], Tally())

    def _stop(self, case: Case, challenger: Tally, champion: Tally, probability: float) -> Step | None:
        stop = self._deploy.stop
        proven = min(challenger.rows, champion.rows) >= stop.least_rows
        how = f"the new model is the better one with probability {probability:.3f}, after {challenger.rows} and {champion.rows} rewards"
        if proven and probability >= stop.probability:
            return Ask(replacing(case, self._deploy.compute), reason=how)
        if proven and 1 - probability >= stop.probability:
            return Restore(how)
        if case.now < case.since + stop.most:
            return None
        # The time is over: who has not shown to be better does not replace who served before.
        late = f"time is over; {how}"
        return Ask(replacing(case, self._deploy.compute), reason=late) if proven and probability > _EVEN else Restore(late)

    def _go_on(self, case: Case, probability: float) -> Step:
        arm = case.names.model
        wanted = share(probability, self._deploy.floor)
        present = case.endpoint.weights if case.endpoint else {}
        total = sum(present.values()) or 1.0
        if abs(present.get(arm, 0.0) / total - wanted) >= _SMALLEST_CHANGE:
            return Weigh({incumbent(case)["ModelName"]: round(1 - wanted, 3), arm: wanted})
        return Stay(min(case.now + self._deploy.every, case.since + self._deploy.stop.most))
