"""Facts of the retrainer: decisions, plans, trainings, models, deployments, batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from driftsonde.core.events.parts import MAX_CHECKS, MAX_DROPS, DropRef, EpisodeKind, Fact, Model, Problem

Answer = Literal["retrain", "wait", "fix_data", "collect_labels", "ask", "ignore"]


class PlanFact(Fact):
    """Base of what the retrainer says of an episode's plan."""

    SOURCE = "retrainer"
    plan: str
    reason: str = ""


class DriftedColumn(Model):
    """A column that drifted, and what it means to the champion."""

    column: str
    check: str
    score: float
    threshold: float
    importance: float | None = Field(None, ge=0, le=1, description="Its share of the champion's importance; None where that is not known.")


_SMALLEST_PRICE = 0.005  # what is shown with two digits


class Estimate(Model):
    """What answering an episode would cost."""

    seconds: float = Field(ge=0, description="Of all jobs together: the median of past jobs; where there are none, their limit.")
    amount: float | None = Field(None, ge=0, description="In `currency`; None where a price is missing.")
    currency: str
    at_most: bool = Field(description="Whether a limit stands in place of a past job anywhere.")
    unpriced: tuple[str, ...] = Field((), description="Instance types without a price.")

    def in_words(self) -> str:
        """Say what is expected, for people."""
        length = f"{self.seconds / 60:,.0f} min of jobs" if self.seconds >= 60 else f"{self.seconds:.0f} s of jobs"
        if self.amount is None and not self.unpriced:
            return f"{length.removesuffix(' of jobs')}; what that costs is not known"
        if self.amount is None:
            return f"{length}; no price is set for {', '.join(self.unpriced)} (budget.prices)"
        if 0 < self.amount < _SMALLEST_PRICE:
            return f"less than 0.01 {self.currency} for {length}"
        return f"{'at most' if self.at_most else 'about'} {self.amount:,.2f} {self.currency} for {length}"


class DecisionRecorded(Fact):
    """What is done about an episode, and why. `sequence` counts the revisions: the latest one holds."""

    TYPE = "decision.recorded"
    SOURCE = "retrainer"

    kind: EpisodeKind
    answer: Answer
    reason: str = Field(description="One word of a closed list.")
    text: str = Field(description="The answer and its reason in a sentence.")
    until: AwareDatetime | None = Field(None, description="When it is decided again.")
    drifted: tuple[DriftedColumn, ...] = Field((), max_length=MAX_CHECKS, description="By importance where it is known, worst first.")
    importance: float | None = Field(None, ge=0, le=1, description="How much of the champion's importance all drifted columns have.")
    problems: tuple[Problem, ...] = Field((), description="Why the data is not trusted; empty: it is.")
    labels: str = Field("", description="What is known of labels.")
    policy: tuple[str, ...] = Field((), description="What the policy says, a sentence for each of its rules.")
    cost: Estimate | None = None


class ApprovalRequested(PlanFact):
    """Somebody has to say yes or no."""

    TYPE = "approval.requested"
    until: AwareDatetime = Field(description="No answer until then is a no.")
    cost: Estimate | None = None
    link: str | None = Field(None, description="Signed; leads to a page with two buttons until the question expires.")


class PlanAccepted(PlanFact):
    """The episode will be answered with training."""

    TYPE = "plan.accepted"


class PlanWaiting(PlanFact):
    """Not now: cooldown, budget, single flight or a quota. Decided again while the episode is open."""

    TYPE = "plan.waiting"
    until: AwareDatetime


class PlanRefused(PlanFact):
    """Never: the reason says why."""

    TYPE = "plan.refused"


class TrainingStarted(PlanFact):
    """A training job was created."""

    TYPE = "training.started"
    job: str


class TrainingSucceeded(PlanFact):
    """The training job completed."""

    TYPE = "training.succeeded"
    job: str
    metrics: dict[str, float] = Field({})
    seconds: float | None = None


class TrainingFailed(PlanFact):
    """A job of the plan failed or was stopped; `reason` is what SageMaker said."""

    TYPE = "training.failed"
    job: str


Finite = Annotated[float, Field(allow_inf_nan=False)]


class Scores(Model):
    """Champion and challenger on the same held-out rows. No champion: the first model."""

    metric: str
    direction: Literal["max", "min"]
    challenger: Finite
    champion: Finite | None = None
    margin: float = 0.0
    rows: int = Field(ge=0)
    interval: tuple[Finite, Finite] | None = Field(
        None, description="Confidence interval of challenger - champion, from a paired bootstrap."
    )
    confidence: float | None = Field(None, gt=0, lt=1, description="One-sided, of each end of the interval.")
    importance: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, max_length=50, description="Share of the challenger's gain that each column has; the most important."
    )


class ModelPromoted(PlanFact):
    """The challenger is the new champion."""

    TYPE = "model.promoted"
    model: str
    package: str
    model_data: str
    scores: Scores
    drops: tuple[DropRef, ...] = Field(max_length=MAX_DROPS, description="What it was trained on: the next baseline.")


class ModelHeld(PlanFact):
    """The champion stays."""

    TYPE = "model.held"
    model: str
    scores: Scores


class DeploymentFact(PlanFact):
    """Base of what is said of a model on its way to an endpoint, or taken back from it."""

    endpoint: str = Field("", description="Empty where the model is used by batch transform only.")
    strategy: Literal["none", "single", "shadow", "canary", "linear", "bandit"]
    model: str


class DeploymentStarted(DeploymentFact):
    """A promoted model is being brought to its endpoint."""

    TYPE = "deployment.started"
    scores: Scores | None = Field(None, description="What the gate saw.")


class DeploymentFinished(DeploymentFact):
    """The model serves, or the former one does again; `reason` says why."""

    TYPE = "deployment.finished"
    outcome: Literal["live", "rolled_back"]


class BatchFinished(PlanFact):
    """Predictions of the new champion are in S3, or the transform failed."""

    TYPE = "batch.finished"
    job: str
    state: Literal["succeeded", "failed"]
    output: str
