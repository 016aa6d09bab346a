"""Events: one identity per fact, a strict schema, and nothing over the limit."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from driftsonde.core.errors import PoisonError
from driftsonde.core.events import (
    FACTS,
    MAX_BYTES,
    MAX_DROPS,
    PREFIX,
    ApprovalRequested,
    BaselineAdopted,
    BaselineRef,
    BatchFinished,
    CheckResult,
    DataUntrusted,
    DecisionRecorded,
    DeliveryFinished,
    DeploymentFinished,
    DeploymentStarted,
    DriftConfirmed,
    DriftDetected,
    DriftedColumn,
    DriftResolved,
    DropRef,
    DropRejected,
    Estimate,
    Event,
    Fact,
    FailingCheck,
    ModelHeld,
    ModelPromoted,
    PlanAccepted,
    PlanRefused,
    PlanWaiting,
    Scores,
    Shift,
    TrainingFailed,
    TrainingStarted,
    TrainingSucceeded,
    VerdictRevised,
    WindowRef,
    parse_event,
)  # fmt: skip

STEADY = settings(derandomize=True, deadline=None)
WHEN = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
WINDOW = WindowRef(id="2026-03-01T12:00:00Z", rows=1_000, start=WHEN, end=WHEN + timedelta(hours=1), revision=2)
BASELINE = BaselineRef(version=3, digest="ab" * 32, rows=20_000)
DROP = DropRef(bucket="acme-ml", key="churn/é.parquet", version="v1", etag="e1", rows=10)
CHECK = CheckResult(
    column="x", check="ks", score=0.3, threshold=0.1, critical=0.138, p_value=1e-12, n=1_000, baseline_n=20_000, interval=(0.25, 0.35),
    bracket=(0.3, 0.301), lookback=4, moved=(Shift(label="(0, 1]", baseline=0.1, window=0.4),), baseline_counts=(1, 2), window_counts=(3, 4),
)  # fmt: skip
SCORES = Scores(metric="auc", direction="max", challenger=0.91, champion=0.88, rows=500)
COMMON: dict[str, Any] = {"monitor": "churn", "episode": 7, "sequence": 2}
PLAN: dict[str, Any] = {**COMMON, "plan": "p-1", "reason": "because"}
EXAMPLES: dict[str, Fact] = {
    fact.TYPE: fact
    for fact in (
        DriftDetected(
            **COMMON, window=WINDOW, baseline=BASELINE, summary="x moved", columns=("x",), checks=(CHECK,), drops=(DROP,), trainable=False
        ),
        DataUntrusted(**COMMON, window=WINDOW, baseline=BASELINE, summary="column x is missing", columns=("x",)),
        DriftResolved(**COMMON, kind="drift", cause="recovered"),
        VerdictRevised(**COMMON, window=WINDOW, before="ok", after="drift"),
        DropRejected(**COMMON, drop=DROP, reason="unreadable", message="not Parquet"),
        BaselineAdopted(monitor="churn", baseline=BASELINE),
        PlanAccepted(**PLAN),
        PlanWaiting(**PLAN, until=WHEN),
        PlanRefused(**PLAN),
        TrainingStarted(**PLAN, job="ds-churn-train-1"),
        TrainingSucceeded(**PLAN, job="ds-churn-train-1", metrics={"auc": 0.9}, seconds=61.5),
        TrainingFailed(**PLAN, job="ds-churn-train-1"),
        ModelPromoted(**PLAN, model="m", package="arn:p", model_data="s3://b/m.tar.gz", scores=SCORES, drops=(DROP,)),
        ModelHeld(**PLAN, model="m", scores=SCORES),
        DriftConfirmed(**COMMON),
        DecisionRecorded(
            **COMMON,
            kind="drift",
            answer="wait",
            reason="cooldown",
            text="Wait: the monitor trained a short while ago.",
            until=WHEN,
            drifted=(DriftedColumn(column="x", check="ks", score=0.4, threshold=0.1, importance=0.2),),
            importance=0.2,
            policy=("Cooldown.",),
            cost=Estimate(seconds=60, amount=1.5, currency="USD", at_most=True),
        ),
        ApprovalRequested(**PLAN, until=WHEN, link="https://retrain.example/approve/churn/7"),
        DeploymentStarted(**PLAN, endpoint="web", strategy="canary", model="m", scores=SCORES),
        DeploymentFinished(**PLAN, endpoint="web", strategy="canary", model="m", outcome="rolled_back"),
        BatchFinished(**PLAN, job="ds-churn-transform-1", state="succeeded", output="s3://b/out"),
        DeliveryFinished(**COMMON, channel="ops", event_id="0" * 32, outcome="delivered"),
    )
}


def event(fact: Fact | None = None, *, time: datetime = WHEN) -> Event:
    return Event.of(fact or EXAMPLES["drift.detected"], time=time)


def body(**changes: Any) -> dict[str, Any]:
    return {**json.loads(event().to_json()), **changes}


def test_every_fact_type_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_event_of_each_type_survives_the_round_trip(name: str) -> None:
    sent = event(EXAMPLES[name])
    received = parse_event(sent.to_json())
    assert received == sent
    assert type(received.data) is FACTS[name]
    assert received.to_json() == sent.to_json()


@pytest.mark.parametrize("name", FACTS)
def test_envelope_is_a_cloud_event(name: str) -> None:
    sent = json.loads(event(EXAMPLES[name]).to_json())
    assert sent["specversion"] == "1.0"
    assert sent["type"] == f"{PREFIX}.{name}"
    assert sent["source"] == f"/driftsonde/{EXAMPLES[name].SOURCE}"
    assert (sent["subject"], sent["datacontenttype"]) == ("churn", "application/json")
    assert event(EXAMPLES[name]).bus_subject == f"{PREFIX}.{name}.churn"


@pytest.mark.parametrize("name", FACTS)
def test_identity_does_not_depend_on_time_or_zone(name: str) -> None:
    fact = EXAMPLES[name]
    assert (
        event(fact).id
        == event(fact, time=WHEN + timedelta(days=1)).id
        == event(fact, time=WHEN.astimezone(timezone(timedelta(hours=9)))).id
    )


def test_identities_of_all_types_differ() -> None:
    assert len({event(fact).id for fact in EXAMPLES.values()}) == len(EXAMPLES)


@pytest.mark.parametrize(
    ("name", "same", "other"),
    [
        ("drift.detected", {"summary": "other words", "trainable": True}, {"episode": 8}),
        ("drift.resolved", {"cause": "revised"}, {"sequence": 3}),
        ("verdict.revised", {"after": "warning", "episode": 1}, {"window": WINDOW.model_copy(update={"revision": 3})}),
        ("drop.rejected", {"message": "other words", "sequence": 9}, {"drop": DROP.model_copy(update={"version": "v2"})}),
        ("baseline.adopted", {"sequence": 9}, {"baseline": BASELINE.model_copy(update={"version": 4})}),
        ("training.succeeded", {"seconds": 1.0}, {"monitor": "fraud"}),
        ("delivery.finished", {"outcome": "refused", "monitor": "fraud"}, {"channel": "sms"}),
    ],
)
def test_identity_depends_on_what_happened_alone(name: str, same: dict[str, Any], other: dict[str, Any]) -> None:
    fact = EXAMPLES[name]
    assert event(fact.model_copy(update=same)).id == event(fact).id
    assert event(fact.model_copy(update=other)).id != event(fact).id


def test_drop_without_a_version_is_told_apart_by_its_etag() -> None:
    one, other = (EXAMPLES["drop.rejected"].model_copy(update={"drop": DropRef(bucket="b", key="k", etag=etag)}) for etag in ("e1", "e2"))
    assert event(one).id != event(other).id


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"", "not_json"), (b"hello", "not_json"), (b"\xff\xfe", "not_json"), (b"[" * 10_000, "not_json"), (b'{"data":' * 10_000, "not_json"),
        (b"[]", "bad_event"), (b"null", "bad_event"), (b"7", "bad_event"), (b"{}", "bad_event"),
        (json.dumps(body(type=f"{PREFIX}.drift.imagined")).encode(), "bad_event"), (json.dumps(body(type=7)).encode(), "bad_event"),
        (json.dumps(body(type=f"{PREFIX}.drift.resolved")).encode(), "bad_event"), (json.dumps(body(data={})).encode(), "bad_event"),
        (json.dumps(body(data=None)).encode(), "bad_event"), (json.dumps(body(id="short")).encode(), "bad_event"),
        (json.dumps(body(specversion="2.0")).encode(), "bad_event"), (json.dumps(body(subject="Not A Name")).encode(), "bad_event"),
        (json.dumps(body(time="2026-03-01T12:00:00")).encode(), "bad_event"), (json.dumps(body(extra=1)).encode(), "bad_event"),
        (json.dumps(body(data={**body()["data"], "extra": 1})).encode(), "bad_event"),
        (json.dumps(body(data={**body()["data"], "episode": 0})).encode(), "bad_event"),
    ],
)  # fmt: skip
def test_garbage_on_the_bus_is_poison(garbage: bytes, reason: str) -> None:
    with pytest.raises(PoisonError) as caught:
        parse_event(garbage)
    assert caught.value.reason == reason


@settings(STEADY, max_examples=200)
@given(st.data())
def test_damaged_event_is_read_or_is_poison(data: st.DataObject) -> None:
    raw = bytearray(event().to_json())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=3)):
        raw[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PoisonError):
        assert isinstance(parse_event(bytes(raw)), Event)


def test_event_over_the_limit_is_not_sent() -> None:
    fact = EXAMPLES["drift.detected"].model_copy(update={"summary": "x" * (MAX_BYTES - 5_000)})
    assert len(event(fact).to_json()) <= MAX_BYTES
    with pytest.raises(ValueError, match=f"over the {MAX_BYTES} limit"):
        event(fact.model_copy(update={"summary": "x" * MAX_BYTES})).to_json()


def test_lists_that_could_grow_are_bounded() -> None:
    fact = EXAMPLES["drift.detected"].model_dump()
    with pytest.raises(ValidationError):
        DriftDetected(**{**fact, "checks": [CHECK] * 21})
    with pytest.raises(ValidationError):
        DriftDetected(**{**fact, "drops": [DROP] * (MAX_DROPS + 1)})
    full = DriftDetected(**{**fact, "checks": [CHECK] * 20, "drops": [DROP] * MAX_DROPS})
    assert len(event(full).to_json()) <= MAX_BYTES


def test_facts_are_frozen_and_refuse_the_unknown() -> None:
    with pytest.raises(ValidationError):
        setattr(EXAMPLES["drift.detected"], "monitor", "other")  # noqa: B010  # a plain assignment is refused by mypy first
    with pytest.raises(ValidationError):
        PlanAccepted(**{**PLAN, "colour": "red"})


def test_drop_has_an_address() -> None:
    assert DROP.uri == "s3://acme-ml/churn/é.parquet"


def test_integer_of_thousands_of_digits_is_poison() -> None:
    with pytest.raises(PoisonError):
        parse_event(b'{"id": ' + b"9" * 5000 + b"}")


def test_oversized_fact_loses_counts_then_oldest_drops() -> None:
    drops = tuple(DropRef(bucket="acme", key=f"{n:04d}" + "k" * 1020, etag="e" * 32) for n in range(200))
    fact = DriftDetected(
        monitor="churn", episode=1, window=WindowRef(id="w", rows=1), baseline=BaselineRef(version=1, digest="d", rows=1),
        summary="s", columns=("x",), checks=(), drops=drops,
    )  # fmt: skip
    event = Event.of(fact, time=datetime.now(UTC))
    body = event.to_json()
    kept = parse_event(body).data
    assert isinstance(kept, DriftDetected)
    assert len(body) <= 200_000
    assert kept.drops
    assert kept.drops[-1] == drops[-1]


def test_alarm_of_thousands_of_columns_is_cut_to_the_limit() -> None:
    names = tuple(f"{n:05}" + "x" * 200 for n in range(5_000))
    more = tuple(FailingCheck(column=name, check="ks", score=0.3, threshold=0.1, critical=0.1) for name in names[:500])
    checks = (CHECK.model_copy(update={"baseline_counts": (9,) * 4_000, "window_counts": (9,) * 4_000}),) * 20
    fact = EXAMPLES["drift.detected"].model_copy(
        update={"columns": names, "checks": checks, "more": more, "drops": (DROP,) * 200, "failing": 9_000}
    )
    body = event(fact).to_json()
    kept = parse_event(body).data
    assert isinstance(kept, DriftDetected)
    assert len(body) <= MAX_BYTES
    assert kept.columns == names[: len(kept.columns)]
    assert (len(kept.checks), kept.failing) == (20, 9_000)


def test_counts_of_the_smallest_changes_are_left_out_first() -> None:
    large = CHECK.model_copy(update={"baseline_counts": (12_345,) * 1_500, "window_counts": (12_345,) * 1_500})
    small = CHECK.model_copy(update={"check": "psi"})
    fact = EXAMPLES["drift.detected"].model_copy(update={"checks": (large,) * 19 + (small,)})
    kept = parse_event(event(fact).to_json()).data
    assert isinstance(kept, DriftDetected)
    carried = [check.has_counts for check in kept.checks]
    assert carried[0]
    assert carried[-1], "a few counts take no room"
    assert carried[:-1] == sorted(carried[:-1], reverse=True)
    assert not all(carried)
    assert kept.drops == (DROP,)
