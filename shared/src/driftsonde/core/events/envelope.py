"""Facts in their CloudEvents 1.0 envelope, each type by its name; the one fact of the notifier."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from driftsonde.core.errors import PoisonError
from driftsonde.core.events.detected import (
    BaselineAdopted,
    DataUntrusted,
    DriftConfirmed,
    DriftDetected,
    DriftResolved,
    DropRejected,
    VerdictRevised,
)
from driftsonde.core.events.parts import CheckResult, Fact, Model
from driftsonde.core.events.planned import (
    ApprovalRequested,
    BatchFinished,
    DecisionRecorded,
    DeploymentFinished,
    DeploymentStarted,
    ModelHeld,
    ModelPromoted,
    PlanAccepted,
    PlanRefused,
    PlanWaiting,
    TrainingFailed,
    TrainingStarted,
    TrainingSucceeded,
)
from driftsonde.core.names import Name, digest
from driftsonde.core.tracing import valid

PREFIX: Final = "driftsonde.v1"
MAX_BYTES: Final = 200_000
_FEW_COUNTS: Final = 64  # as many take no room that anything else needs


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
    traceparent: Annotated[str | None, BeforeValidator(valid)] = Field(
        None,
        pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        description="The trace that it belongs to: CloudEvents' distributed tracing extension. The id does not depend on it.",
    )
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
    def of(cls, fact: Fact, *, time: datetime, traceparent: str | None = None) -> Event:
        """Wrap a fact; `time` is when it happened, in any zone."""
        return cls(
            id=digest(fact.TYPE, *fact.identity()),
            type=f"{PREFIX}.{fact.TYPE}",
            source=f"/driftsonde/{fact.SOURCE}",
            subject=fact.monitor,
            time=time.astimezone(UTC),
            traceparent=traceparent,
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
