"""Every event of the bus, as CloudEvents 1.0 with frozen, versioned data.

A fact is what happened (`DriftDetected`, ...); an `Event` is a fact in its CloudEvents envelope. An event's id depends only
on what happened, never on when it was published, so a repeat from any replica is recognised as one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from driftsonde.core.errors import PoisonError
from driftsonde.core.names import Name, digest

PREFIX: Final = "driftsonde.v1"
MAX_BYTES: Final = 200_000
MAX_DROPS: Final = 200
MAX_CHECKS: Final = 20
MAX_MORE: Final = 500
_FEW_COUNTS: Final = 64  # as many take no room that anything else needs

Verdict = Literal["ok", "warning", "drift", "insufficient", "untrusted"]
EpisodeKind = Literal["drift", "untrusted"]
Answer = Literal["retrain", "wait", "fix_data", "collect_labels", "ask", "ignore"]
ProblemKind = Literal[
    "nulls", "invalid", "unseen", "schema", "unreadable", "duplicate_rows", "constant_column", "beyond_range", "volume"
]  # fmt: skip


class Model(BaseModel):
    """Base of everything on the wire: immutable, and nothing unknown slips through."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DropRef(Model):
    """One version of one S3 object, pinned so that it can be read again exactly."""

    bucket: str
    key: str
    version: str | None = Field(None, description="S3 VersionId, where the bucket has versions.")
    etag: str | None = None
    rows: int | None = Field(None, ge=0)

    @property
    def uri(self) -> str:
        """The object's `s3://` address, without its version."""
        return f"s3://{self.bucket}/{self.key}"


class BaselineRef(Model):
    """The frozen baseline that a verdict was measured against."""

    version: int = Field(ge=1)
    digest: str
    rows: int = Field(ge=0)
    model: str | None = Field(None, description="The model that was trained on the same data.")


class WindowRef(Model):
    """The window that was judged."""

    id: str
    rows: int = Field(ge=0)
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    revision: int = Field(1, ge=1)


class Shift(Model):
    """A bin or level, and its share of the baseline and of the window."""

    label: str
    baseline: float
    window: float


class FailingCheck(Model):
    """A failing check, in short. `score`: higher is worse, always."""

    column: str
    check: Literal["ks", "psi", "tv", "nulls", "outside", "invalid", "js", "hellinger", "chi2", "g", "wasserstein"]
    score: float
    threshold: float
    critical: float = Field(description="The score from which the check alarms; at least the threshold.")
    lookback: int = Field(1, ge=1, description="How many windows were merged for this result.")


class CheckResult(FailingCheck):
    """A failing check with everything needed to recompute it (docs/statistics.md, "Recompute a verdict yourself")."""

    method: str = Field("", max_length=120, description="How it is computed; one text for each check.")
    p_value: float = Field(ge=0, le=1)
    n: int = Field(ge=0)
    baseline_n: int = Field(ge=0)
    interval: tuple[float, float] = Field(description="95 % confidence interval of the score.")
    bracket: tuple[float, float] | None = Field(None, description="What binning leaves open: the exact score lies within.")
    certain: bool = Field(True, description="False where the critical value lies within the bracket: the raw values might say otherwise.")
    moved: tuple[Shift, ...] = Field((), description="The bins or levels whose share changed most.")
    baseline_counts: tuple[int, ...] | None = Field(None, description="Of ks by bin, of tv by level, of psi by group.")
    window_counts: tuple[int, ...] | None = None
    single_valued: tuple[int, ...] | None = Field(
        None, description="Of ks: the bins that can hold one value only, inside which nothing is open."
    )
    counted: int | None = Field(None, ge=0, description="Of nulls, invalid, outside: how many of the window's n values are.")
    baseline_counted: int | None = Field(
        None, ge=0, description="Of how many of the baseline's values; of outside: 2 beyond any range, or the levels seen once."
    )
    expected: float | None = Field(None, description="Of nulls, invalid, outside: the share that the change is measured from.")

    @property
    def has_counts(self) -> bool:
        """Whether it can be recomputed from the event alone."""
        return self.baseline_counts is not None or self.counted is not None


class SketchesRef(Model):
    """Where the counts of every check are: the stored sketches of the look-back."""

    link: str = Field(description="Below the detector's address; its read API answers while the windows are stored.")
    windows: int = Field(ge=1, description="How many windows, the judged one included.")
    digest: str = Field(description="SHA-256 of the sketches' content, oldest first: whether they are still those that were judged.")


class Problem(Model):
    """A sign that the data itself is broken: a model must not be trained on it."""

    kind: ProblemKind
    text: str = Field(max_length=2000)


class Fact(Model):
    """What happened. `sequence` orders the facts of one source about one episode."""

    TYPE: ClassVar[str]
    SOURCE: ClassVar[str]

    monitor: Name
    episode: int | None = Field(None, ge=1)
    sequence: int = Field(1, ge=1)

    def identity(self) -> tuple[object, ...]:
        """What makes this fact one of its kind; its digest is the event id."""
        return (self.monitor, self.episode, self.sequence)


class Alarm(Fact):
    """Base of what opens an episode: what was seen, and by which rule."""

    SOURCE = "detector"

    window: WindowRef
    baseline: BaselineRef
    summary: str = Field(description="The verdict in one sentence.")
    columns: tuple[str, ...] = Field(description="Every drifted column, worst first; of thousands, the worst.")
    checks: tuple[CheckResult, ...] = Field((), max_length=MAX_CHECKS, description="The worst failing checks, with their counts.")
    more: tuple[FailingCheck, ...] = Field((), max_length=MAX_MORE, description="Further failing checks; their counts are in `sketches`.")
    failing: int | None = Field(None, ge=0, description="How many checks fail, listed or not.")
    level: float | None = Field(None, gt=0, lt=1, description="What each check may spend: alpha / (5 x columns x look-backs).")
    margin: float | None = Field(None, ge=0, le=1, description="Share of a threshold that a change must surely exceed.")
    psi_bins: int | None = Field(None, ge=1, description="Groups that psi is taken over.")
    sketches: SketchesRef | None = None
    problems: tuple[Problem, ...] = Field((), description="What is wrong with the data itself; with any of them nothing is trained.")


class DriftDetected(Alarm):
    """The inputs have left the baseline. One per episode."""

    TYPE = "drift.detected"

    drops: tuple[DropRef, ...] = Field((), max_length=MAX_DROPS, description="The drops of the look-back, oldest first.")
    trainable: bool = Field(True, description="False when anything is wrong with the data itself: fix the data instead.")


class DataUntrusted(Alarm):
    """The data itself is broken: people are told, nothing is trained on it."""

    TYPE = "data.untrusted"


class DriftResolved(Fact):
    """An episode ended."""

    TYPE = "drift.resolved"
    SOURCE = "detector"

    kind: EpisodeKind
    cause: Literal["recovered", "revised", "rebaselined"]


class DriftConfirmed(Fact):
    """An episode of drift goes on: so many windows of the latest ones alarm as the monitor's `retrain.confirm` asks for."""

    TYPE = "drift.confirmed"
    SOURCE = "detector"

    def identity(self) -> tuple[object, ...]:
        """One per episode."""
        return (self.monitor, self.episode)


class VerdictRevised(Fact):
    """A window that had been judged was judged again and the answer changed."""

    TYPE = "verdict.revised"
    SOURCE = "detector"

    window: WindowRef
    before: Verdict
    after: Verdict

    def identity(self) -> tuple[object, ...]:
        """One per window and revision."""
        return (self.monitor, self.window.id, self.window.revision)


class DropRejected(Fact):
    """A drop could not be read; its message is in the dead-letter queue."""

    TYPE = "drop.rejected"
    SOURCE = "detector"

    drop: DropRef
    reason: str
    message: str

    def identity(self) -> tuple[object, ...]:
        """One per object version."""
        return (self.monitor, self.drop.bucket, self.drop.key, self.drop.version or self.drop.etag)


class BaselineAdopted(Fact):
    """A new baseline is in force for windows that have no part yet."""

    TYPE = "baseline.adopted"
    SOURCE = "detector"

    baseline: BaselineRef

    def identity(self) -> tuple[object, ...]:
        """One per version."""
        return (self.monitor, self.baseline.version)


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
        if self.amount is None:
            return f"{length}; no price is set for {', '.join(self.unpriced)} (budget.prices)"
        price = f"{self.amount:,.2f}" if self.amount >= 0.005 or not self.amount else "less than 0.01"
        return f"{'at most' if self.at_most else 'about'} {price} {self.currency} for {length}"


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
    metrics: dict[str, float] = {}
    seconds: float | None = None


class TrainingFailed(PlanFact):
    """A job of the plan failed or was stopped; `reason` is what SageMaker said."""

    TYPE = "training.failed"
    job: str


class Scores(Model):
    """Champion and challenger on the same held-out rows. No champion: the first model."""

    metric: str
    direction: Literal["max", "min"]
    challenger: float
    champion: float | None = None
    margin: float = 0.0
    rows: int = Field(ge=0)
    interval: tuple[float, float] | None = Field(None, description="Confidence interval of challenger - champion, from a paired bootstrap.")
    confidence: float | None = Field(None, gt=0, lt=1, description="One-sided, of each end of the interval.")
    importance: dict[str, float] = Field(
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


class DeliveryFinished(Fact):
    """A channel accepted a message, or refused it for good."""

    TYPE = "delivery.finished"
    SOURCE = "notifier"

    channel: Name
    event_id: str
    outcome: Literal["delivered", "refused", "expired"]
    detail: str = ""

    def identity(self) -> tuple[object, ...]:
        """One per event and channel."""
        return (self.channel, self.event_id)


FACTS: Final[dict[str, type[Fact]]] = {
    fact.TYPE: fact
    for fact in (
        DriftDetected, DataUntrusted, DriftConfirmed, DriftResolved, VerdictRevised, DropRejected, BaselineAdopted,
        DecisionRecorded, ApprovalRequested, PlanAccepted, PlanWaiting, PlanRefused, TrainingStarted, TrainingSucceeded, TrainingFailed,
        ModelPromoted, ModelHeld, DeploymentStarted, DeploymentFinished, BatchFinished, DeliveryFinished,
    )
}  # fmt: skip
"""Every type of the bus by its short name, e.g. `drift.detected`."""


class Event(Model):
    """A fact in its CloudEvents 1.0 envelope, structured JSON mode."""

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    type: str
    source: str
    subject: Name
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    data: SerializeAsAny[Fact]

    @model_validator(mode="before")
    @classmethod
    def _data_follows_type(cls, raw: Any) -> Any:
        """Parse `data` as the fact that `type` names."""
        if isinstance(raw, dict) and isinstance(raw.get("data"), dict):
            fact = FACTS.get(str(raw.get("type")).removeprefix(f"{PREFIX}."))
            if fact is None:
                raise ValueError(f"unknown event type {raw.get('type')!r}")
            return {**raw, "data": fact.model_validate(raw["data"])}
        return raw

    @classmethod
    def of(cls, fact: Fact, *, time: datetime) -> Event:
        """Wrap a fact; `time` is when it happened, in any zone."""
        return cls(
            id=digest(fact.TYPE, *fact.identity()),
            type=f"{PREFIX}.{fact.TYPE}",
            source=f"/driftsonde/{fact.SOURCE}",
            subject=fact.monitor,
            time=time.astimezone(UTC),
            data=fact,
        )

    @property
    def bus_subject(self) -> str:
        """Where it is published: `driftsonde.v1.<type>.<monitor>`."""
        return f"{self.type}.{self.subject}"

    def to_json(self) -> bytes:
        """Serialise; at most 200 KB. Of a fact that would be larger, counts go first, then lists are cut.

        Raises:
            ValueError: if the event is over the limit all the same, which its other fields' bounds make impossible.
        """
        body = self.model_dump_json(exclude_none=True).encode()
        for trimmed in _smaller(self):
            if len(body) <= MAX_BYTES:
                break
            body = trimmed.model_dump_json(exclude_none=True).encode()
        if len(body) > MAX_BYTES:
            raise ValueError(f"event {self.type} is {len(body)} bytes, over the {MAX_BYTES} limit")
        return body


def _smaller(event: Event) -> Iterator[Event]:
    """Yield ever smaller versions of an event: counts go first, those of the least change before others; they are stored elsewhere."""
    data = event.data
    for field, keep in (("checks", None), ("more", 0), ("drops", 0), ("columns", 1)):
        for fewer in _without_counts(getattr(data, field, ())) if keep is None else _halved(getattr(data, field, ()), keep, field):
            data = data.model_copy(update={field: fewer})
            yield event.model_copy(update={"data": data})


def _without_counts(checks: tuple[CheckResult, ...]) -> Iterator[tuple[CheckResult, ...]]:
    """Take the counts away, one check after the other."""
    nothing = {"baseline_counts": None, "window_counts": None, "single_valued": None}
    for place in reversed(range(len(checks))):
        if len(checks[place].window_counts or ()) > _FEW_COUNTS:
            checks = (*checks[:place], checks[place].model_copy(update=nothing), *checks[place + 1 :])
            yield checks


def _halved(items: tuple[object, ...], keep: int, field: str) -> Iterator[tuple[object, ...]]:
    """Leave out one half after the other: of drops the oldest, of anything else the last."""
    while len(items) > keep:
        half = len(items) // 2
        items = items[half + 1 :] if field == "drops" else items[: max(half, keep)]
        yield items


def parse_event(body: bytes) -> Event:
    """Parse one event from the bus.

    Raises:
        PoisonError: if it is not one of ours; `reason` is `not_json` or `bad_event`.
    """
    try:
        return Event.model_validate(json.loads(body))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        raise PoisonError(f"event does not fit its schema: {first['loc']}: {first['msg']}", reason="bad_event") from exc
    except (ValueError, RecursionError) as exc:  # not JSON, not UTF-8, or a number of thousands of digits
        raise PoisonError(f"event is not JSON: {exc}", reason="not_json") from exc
