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

Verdict = Literal["ok", "warning", "drift", "insufficient", "untrusted"]
EpisodeKind = Literal["drift", "untrusted"]


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


class CheckResult(Model):
    """One failing check with everything needed to recompute it. `score`: higher is worse, always."""

    column: str
    check: Literal["ks", "psi", "tv", "nulls", "outside", "invalid"]
    score: float
    threshold: float
    critical: float = Field(description="The score from which the check alarms; at least the threshold.")
    p_value: float = Field(ge=0, le=1)
    n: int = Field(ge=0)
    baseline_n: int = Field(ge=0)
    interval: tuple[float, float] = Field(description="95 % confidence interval of the score.")
    bracket: tuple[float, float] | None = Field(None, description="What binning leaves open: the exact score lies within.")
    lookback: int = Field(1, ge=1, description="How many windows were merged for this result.")
    moved: tuple[Shift, ...] = Field((), description="The bins or levels whose share changed most.")
    baseline_counts: tuple[int, ...] | None = None
    window_counts: tuple[int, ...] | None = None


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


class DriftDetected(Fact):
    """The inputs have left the baseline. One per episode."""

    TYPE = "drift.detected"
    SOURCE = "detector"

    window: WindowRef
    baseline: BaselineRef
    summary: str = Field(description="The verdict in one sentence.")
    columns: tuple[str, ...] = Field(description="Every drifted column, worst first.")
    checks: tuple[CheckResult, ...] = Field(max_length=20)
    drops: tuple[DropRef, ...] = Field((), max_length=MAX_DROPS, description="The drops of the look-back, oldest first.")
    trainable: bool = Field(True, description="False when nulls or invalid values rose, or only unseen ones: fix the data instead.")


class DataUntrusted(Fact):
    """The data itself is broken: people are told, nothing is trained on it."""

    TYPE = "data.untrusted"
    SOURCE = "detector"

    window: WindowRef
    baseline: BaselineRef
    summary: str
    columns: tuple[str, ...]
    checks: tuple[CheckResult, ...] = Field((), max_length=20)


class DriftResolved(Fact):
    """An episode ended."""

    TYPE = "drift.resolved"
    SOURCE = "detector"

    kind: EpisodeKind
    cause: Literal["recovered", "revised", "rebaselined"]


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
        DriftDetected, DataUntrusted, DriftResolved, VerdictRevised, DropRejected, BaselineAdopted,
        PlanAccepted, PlanWaiting, PlanRefused, TrainingStarted, TrainingSucceeded, TrainingFailed,
        ModelPromoted, ModelHeld, BatchFinished, DeliveryFinished,
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
        """Serialise; at most 200 KB. Of a fact that would be larger, full counts go first, then the oldest drops.

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
    """Yield ever smaller versions of an event."""
    data = event.data
    if isinstance(data, DriftDetected | DataUntrusted):
        bare = tuple(check.model_copy(update={"baseline_counts": None, "window_counts": None}) for check in data.checks)
        data = data.model_copy(update={"checks": bare})
        yield event.model_copy(update={"data": data})
    drops: tuple[DropRef, ...] = getattr(data, "drops", ())
    while drops:
        drops = drops[len(drops) // 2 + 1 :]
        yield event.model_copy(update={"data": data.model_copy(update={"drops": drops})})


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
