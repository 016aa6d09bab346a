"""From messages to drops: shapes, routing, and what becomes of each record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from driftsonde.core.drops import as_message, parse_notification
from driftsonde.core.errors import PoisonError, RetryableError, UnreadableObject
from driftsonde.detector.routing import route

from .support import BUCKET, GARBAGE, Rig, config, drop_body, message


async def handled(rig: Rig, body: str) -> None:
    """Receive one message and handle it."""
    await rig.queue.send(body)
    (lease,) = await rig.queue.receive(1)
    await rig.intake.handle(lease)


@pytest.mark.parametrize(
    ("drops", "key", "matches"),
    [
        ("s3://acme/in/", "in/a.parquet", True),
        ("s3://acme/in/", "in/deep/er/a.parquet", True),
        ("s3://acme/in/", "out/in/a.parquet", False),
        ("s3://acme/in/", "in/folder/", False),
        ("s3://acme/in/*.parquet", "in/a.parquet", True),
        ("s3://acme/in/*.parquet", "in/a.csv", False),
        ("s3://acme/in/day=??/*.csv", "in/day=07/a.csv", True),
        ("s3://acme/in/day=??/*.csv", "in/day=7/a.csv", False),
        ("s3://acme/in/[ab].csv", "in/b.csv", True),
        ("s3://acme/in/[ab].csv", "in/B.csv", False),
        ("s3://other/in/", "in/a.parquet", False),
        ("s3://acme", "anything", True),
    ],
)
def test_prefix_or_glob_says_which_drops_match(drops: str, key: str, matches: bool) -> None:
    assert [monitor.name for monitor in route(config(drops=drops).monitors, BUCKET, key)] == (["churn"] if matches else [])


def test_drop_goes_to_every_monitor_that_matches() -> None:
    assert [monitor.name for monitor in route(config(2).monitors, BUCKET, "in/1")] == ["churn", "fraud"]


async def test_each_outcome_is_counted_exactly_once(rig: Rig) -> None:
    await rig.adopt()
    counted, empty = rig.put("in/1", drop_body()), rig.put("in/2", b"")
    gone, old = rig.put("in/3", drop_body()), rig.put("in/4", drop_body(200))
    rig.objects.delete(BUCKET, "in/3")
    new = rig.put("in/4", drop_body(201))
    others = rig.put("elsewhere", b"x"), rig.event("in/9", kind="removed"), rig.event("in/9", kind="other")
    await handled(rig, message(counted, empty, gone, old, new, counted, old, *others))
    await handled(rig, json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}))
    assert rig.outcomes() == {
        "counted": 2, "empty": 1, "gone": 1, "superseded": 1, "duplicate": 1, "stale": 1,
        "unmatched": 1, "removed": 1, "ignored": 1, "test_event": 1,
    }  # fmt: skip


async def test_bad_record_is_dead_lettered_alone(rig: Rig) -> None:
    await rig.adopt()
    drops = [rig.put(f"in/{number}", drop_body()) for number in range(9)]
    body = json.loads(message(*drops))
    bad: dict[str, Any] = {"eventVersion": "3.0", **{k: v for k, v in body["Records"][0].items() if k != "eventVersion"}}
    body["Records"].insert(4, bad)
    await handled(rig, json.dumps(body))
    assert rig.outcomes() == {"counted": 9, "unknown_version": 1}
    assert [(json.loads(text)["eventVersion"], reason) for text, reason in rig.queue.dead_letters] == [("3.0", "unknown_version")]


async def test_unreadable_drop_among_others_is_dead_lettered_alone(rig: Rig) -> None:
    await rig.adopt()
    drops = rig.put("in/1", drop_body()), rig.put("in/a+b c/é", GARBAGE), rig.put("in/3", drop_body())
    await handled(rig, message(*drops))
    assert rig.outcomes() == {"counted": 2, "unreadable": 1}
    ((letter, reason),) = rig.queue.dead_letters
    assert reason == "unreadable"
    assert parse_notification(letter).drops == (drops[1],), "it can be replayed as it is"


async def test_unreadable_drop_of_its_own_spoils_the_message(rig: Rig) -> None:
    await rig.adopt()
    with pytest.raises(UnreadableObject):
        await handled(rig, message(rig.put("in/1", GARBAGE)))
    assert rig.outcomes() == {}, "the consumer counts it when it settles"


async def test_outage_leaves_what_was_done_and_no_letters(rig: Rig) -> None:
    await rig.adopt()
    body = json.loads(message(rig.put("in/1", drop_body()), rig.put("in/2", drop_body())))
    body["Records"].append({"nonsense": True})
    await rig.take(rig.put("in/0", drop_body()))

    async def away(*_: object, **__: object) -> None:
        raise RetryableError("S3 is away")

    opened = rig.objects.open
    rig.objects.open = lambda bucket, key, **pin: opened(bucket, key, **pin) if key != "in/2" else away()  # type: ignore[method-assign,assignment]  # one key fails
    for _ in range(3):
        with pytest.raises(RetryableError):
            await handled(rig, json.dumps(body))
    assert rig.queue.dead_letters == []
    rig.objects.open = opened  # type: ignore[method-assign]  # back again
    await handled(rig, json.dumps(body))
    assert rig.outcomes() == {"counted": 2, "duplicate": 3, "unknown_shape": 1}


@pytest.mark.parametrize("body", ["", "no json", "[]", '{"Records": 1}', '{"hello": "world"}'])
async def test_message_that_is_no_notification_is_poison(rig: Rig, body: str) -> None:
    with pytest.raises(PoisonError):
        await handled(rig, body)


async def test_all_envelopes_lead_to_the_same_drop(rig: Rig) -> None:
    await rig.adopt()
    drop = rig.put("in/1", drop_body())
    direct = message(drop)
    bridge = {
        "source": "aws.s3", "detail-type": "Object Created", "time": drop.event_time.isoformat(),
        "detail": {"bucket": {"name": BUCKET}, "object": {"key": drop.key, "size": drop.size, "etag": drop.etag, "sequencer": drop.sequencer}},
    }  # fmt: skip
    for body in (direct, json.dumps({"Type": "Notification", "Message": direct}), json.dumps(bridge)):
        await handled(rig, body)
    assert rig.outcomes() == {"counted": 1, "duplicate": 2}


async def test_message_made_of_a_drop_reads_back(rig: Rig) -> None:
    drop = rig.put("in/a+b c%2B/é", drop_body())
    assert parse_notification(as_message(drop)).drops == (drop,)
