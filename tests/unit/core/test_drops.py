"""S3 notifications in all their shapes become drops; what cannot be one is poison with a reason."""

from __future__ import annotations

import contextlib
import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.drops import MAX_BODY, Drop, Notification, compare_sequencers, parse_notification
from driftsonde.core.errors import PoisonError

STEADY = settings(derandomize=True, deadline=None)
WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORD: dict[str, Any] = {
    "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1", "eventTime": "2026-03-01T12:00:00.000Z",
    "eventName": "ObjectCreated:Put",
    "s3": {
        "s3SchemaVersion": "1.0", "bucket": {"name": "acme-ml", "arn": "arn:aws:s3:::acme-ml"},
        "object": {"key": "churn/day.parquet", "size": 1024, "eTag": "d41d8", "versionId": "v7", "sequencer": "0055AED6DCD90281E5"},
    },
}  # fmt: skip
EVENT: dict[str, Any] = {
    "version": "0", "id": "1", "detail-type": "Object Created", "source": "aws.s3", "account": "123456789012", "time": "2026-03-01T12:00:00Z",
    "detail": {
        "version": "0", "bucket": {"name": "acme-ml"}, "reason": "PutObject",
        "object": {"key": "churn/day.parquet", "size": 1024, "etag": "d41d8", "version-id": "v7", "sequencer": "0055AED6DCD90281E5"},
    },
}  # fmt: skip
DROP = Drop("created", "acme-ml", "churn/day.parquet", WHEN, 1024, "d41d8", "v7", "0055AED6DCD90281E5")
GREETING = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "acme-ml"}


def changed(**parts: Any) -> dict[str, Any]:
    """Return a record with its object's, bucket's or own fields replaced; None leaves a field out."""
    record = deepcopy(RECORD)
    for name, value in parts.items():
        where = next(part for part in (record["s3"]["object"], record["s3"]["bucket"], record) if name in part)
        if value is None:
            del where[name]
        else:
            where[name] = value
    return record


def direct(*records: Any) -> str:
    return json.dumps({"Records": list(records)})


def wrapped(message: Any) -> str:
    return json.dumps({"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:::t", "Message": json.dumps(message)})


def only(body: str) -> Drop:
    (drop,) = parse_notification(body).drops
    return drop


@pytest.mark.parametrize(
    "body",
    [direct(RECORD), wrapped({"Records": [RECORD]}), json.dumps(EVENT), wrapped(EVENT), direct(changed(eTag='"d41d8"'))],
    ids=["direct", "SNS", "EventBridge", "EventBridge in SNS", "quoted ETag"],
)
def test_all_shapes_give_the_same_drop(body: str) -> None:
    assert parse_notification(body) == Notification(drops=(DROP,))


def test_drop_names_its_object_and_version() -> None:
    assert DROP.uri == "s3://acme-ml/churn/day.parquet"
    assert DROP.ref(5).model_dump() == {"bucket": "acme-ml", "key": "churn/day.parquet", "version": "v7", "etag": "d41d8", "rows": 5}


@pytest.mark.parametrize("body", [json.dumps(GREETING), wrapped(GREETING)], ids=["direct", "SNS"])
def test_greeting_of_s3_is_no_drop(body: str) -> None:
    assert parse_notification(body) == Notification(test_event=True)


@pytest.mark.parametrize(
    ("written", "key"),
    [("a+b.csv", "a b.csv"), ("a%2Bb.csv", "a+b.csv"), ("a%252Bb.csv", "a%2Bb.csv"), ("caf%C3%A9.csv", "café.csv"), ("café.csv", "café.csv"),
     ("a/%F0%9F%93%A6", "a/📦")],
)  # fmt: skip
def test_key_is_decoded_exactly_once(written: str, key: str) -> None:
    assert only(direct(changed(key=written))).key == key


@pytest.mark.parametrize("key", ["a+b.csv", "a%2Bb.csv", "café.csv"])
def test_key_from_eventbridge_is_taken_as_it_is(key: str) -> None:
    event = deepcopy(EVENT)
    event["detail"]["object"]["key"] = key
    assert only(json.dumps(event)).key == key


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ObjectCreated:CompleteMultipartUpload", "created"), ("s3:ObjectCreated:Copy", "created"), ("ObjectRemoved:DeleteMarkerCreated", "removed"),
     ("ObjectRestore:Completed", "other"), ("LifecycleExpiration:Delete", "other")],
)  # fmt: skip
def test_event_name_tells_what_happened(name: str, kind: str) -> None:
    assert only(direct(changed(eventName=name))).kind == kind


@pytest.mark.parametrize(("name", "kind"), [("Object Created", "created"), ("Object Deleted", "removed"), ("Object Tags Added", "other")])
def test_detail_type_tells_what_happened(name: str, kind: str) -> None:
    assert only(json.dumps({**EVENT, "detail-type": name})).kind == kind


def test_removal_has_neither_size_nor_etag() -> None:
    drop = only(direct(changed(eventName="ObjectRemoved:Delete", size=None, eTag=None, versionId=None)))
    assert (drop.kind, drop.size, drop.etag, drop.version) == ("removed", None, None, None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (changed(key="bad%FFkey"), "bad_key"), (changed(key="nul%00"), "bad_key"), (changed(key="é" * 600), "bad_key"),
        (changed(key="lone \ud800"), "unknown_shape"), (changed(eventVersion="3.0"), "unknown_version"), (changed(eventVersion="two"), "unknown_shape"),
        (changed(eventTime="2026-03-01T12:00:00"), "unknown_shape"), (changed(sequencer="not hex"), "unknown_shape"),
        (changed(s3=None), "unknown_shape"), (changed(name="ab"), "unknown_shape"), (changed(key=""), "unknown_shape"), (None, "unknown_shape"),
        (7, "unknown_shape"), ([], "unknown_shape"),
    ],
    ids=["latin-1", "NUL", "too long", "surrogate", "version", "no version", "naive time", "sequencer", "no s3", "bucket", "empty key", "null", "number", "list"],
)  # fmt: skip
def test_one_bad_record_of_ten_costs_one(bad: Any, reason: str) -> None:
    good = [changed(key=f"{index}.csv") for index in range(9)]
    found = parse_notification(direct(*good[:4], bad, *good[4:]))
    assert [drop.key for drop in found.drops] == [f"{index}.csv" for index in range(9)]
    (record,) = found.bad
    assert record.reason == reason
    assert json.loads(record.record) == bad


def test_minor_versions_of_the_future_are_read() -> None:
    assert only(direct(changed(eventVersion="2.99"))) == DROP


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not_json"), ("hello", "not_json"), ("{", "not_json"), ("[" * 10_000, "not_json"), ('{"a":' * 10_000, "not_json"),
        ('{"size": ' + "9" * 5_000 + "}", "not_json"), ("[]", "unknown_shape"), ("7", "unknown_shape"), ("null", "unknown_shape"),
        ("{}", "unknown_shape"), ('{"Records": {}}', "unknown_shape"), (json.dumps({"Type": "Notification", "Message": "hi"}), "not_json"),
        (json.dumps({**EVENT, "detail": {}}), "unknown_shape"), (json.dumps({**EVENT, "source": "aws.ec2"}), "unknown_shape"),
        (" " * (MAX_BODY + 1), "unknown_shape"),
    ],
    ids=["empty", "text", "cut", "deep list", "deep object", "endless number", "list", "number", "null", "no fields", "Records", "SNS text",
         "no detail", "other source", "too long"],
)  # fmt: skip
def test_message_of_no_known_shape_is_poison(body: str, reason: str) -> None:
    with pytest.raises(PoisonError) as caught:
        parse_notification(body)
    assert caught.value.reason == reason


def test_deeply_nested_record_never_raises_anything_else() -> None:
    for depth in (100, 900, 930, 960, 980, 990, 1_000, 10_000):
        body = '{"Records": [' + '{"a":' * depth + "1" + "}" * depth + "]}"
        try:
            reason = parse_notification(body).bad[0].reason
        except PoisonError as exc:
            reason = exc.reason
        assert reason in ("unknown_shape", "not_json")


@pytest.mark.parametrize(
    ("key", "reason"), [("nul\x00", "bad_key"), ("é" * 600, "bad_key"), ("lone \ud800", "unknown_shape"), ("", "unknown_shape")]
)
def test_impossible_key_from_eventbridge_is_poison(key: str, reason: str) -> None:
    event = deepcopy(EVENT)
    event["detail"]["object"]["key"] = key
    with pytest.raises(PoisonError) as caught:
        parse_notification(json.dumps(event))
    assert caught.value.reason == reason


def test_empty_list_of_records_is_no_drop() -> None:
    assert parse_notification(direct()) == Notification()


def reasons(found: Notification) -> list[str]:
    return [record.reason for record in found.bad]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["Records", "Message", "Type", "Event", "source", "detail", "s3", "object", "key"]), inner, max_size=3), max_leaves=8,
)  # fmt: skip


@settings(STEADY, max_examples=300)
@given(JSON, st.lists(JSON, max_size=3))
def test_arbitrary_json_never_raises_anything_else(message: Any, records: list[Any]) -> None:
    for body in (json.dumps(message), wrapped(message), direct(*records), json.dumps({**EVENT, "detail": message})):
        with contextlib.suppress(PoisonError):
            assert set(reasons(parse_notification(body))) <= set(PoisonError.REASONS)


@settings(STEADY, max_examples=200)
@given(st.integers(0, 2**64), st.integers(0, 2**64))
def test_sequencers_of_one_length_order_as_numbers(one: int, other: int) -> None:
    assert compare_sequencers(f"{one:018X}", f"{other:018x}") == (one > other) - (one < other)


@pytest.mark.parametrize(
    ("one", "other", "order"),
    [
        ("10", "9", None),
        ("A0", "A", None),
        ("A00", "A", None),
        ("90", "1", 1),
        ("1", "90", -1),
        ("A", "0A", None),
        ("AB", "A", 1),
        ("A", "AB", -1),
        ("A", "a", 0),
    ],
)
def test_sequencers_of_different_length_are_ordered_only_if_sure(one: str, other: str, order: int | None) -> None:
    assert compare_sequencers(one, other) == order


@settings(STEADY, max_examples=200)
@given(st.from_regex(r"[0-9A-F]{1,6}", fullmatch=True), st.from_regex(r"[0-9A-F]{1,6}", fullmatch=True))
def test_order_of_sequencers_turns_with_its_sides(one: str, other: str) -> None:
    found = compare_sequencers(one, other)
    assert compare_sequencers(other, one) == (None if found is None else -found)
