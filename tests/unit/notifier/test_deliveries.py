"""What is sent, when, how often, and in which order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from driftsonde.core.ports import Delivery
from driftsonde.notifier.deliveries import backoff
from driftsonde.notifier.store import Claim

from .support import NOON, SECOND, ListChannel, Reply, Rig, Server, detected, http_rig, rejected, resolved, scripted_server

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
RETRY = Delivery("retry", "HTTP 500")


@pytest.mark.parametrize("repeats", [1, 2, 5])
async def test_repeated_event_makes_one_message(rig: Rig, channel: ListChannel, repeats: int) -> None:
    for attempt in range(repeats):
        await rig.tell(detected(), attempt=attempt)
    await rig.deliver(within=HOUR)
    assert len(channel.sent) == 1
    assert rig.outcomes == ["queued"] + ["duplicate"] * (repeats - 1)


async def test_delivered_message_is_announced_once_on_the_outbox(rig: Rig) -> None:
    await rig.tell(detected())
    await rig.deliver()
    (fact,) = rig.announced()
    assert (fact["outcome"], fact["channel"], fact["episode"]) == ("delivered", "ops", 7)
    assert rig.log() == [("delivered", "")]


async def test_server_error_is_retried_until_accepted(slack_rig: Rig, server: Server) -> None:
    server.replies.extend([Reply(500), Reply(503), Reply(200)])
    await slack_rig.tell(detected())
    await slack_rig.deliver(within=MINUTE)
    assert len(server.requests) == 3
    assert slack_rig.log() == [("delivered", "")]
    assert slack_rig.count("delivery_tries_total", channel="ops", outcome="retry") == 2


async def test_retry_after_silences_the_whole_channel(slack_rig: Rig, server: Server) -> None:
    server.replies.append(Reply(429, "slow down", {"Retry-After": "120"}))
    await slack_rig.tell(detected(), detected(8))
    await slack_rig.deliver(within=119 * SECOND)
    assert len(server.requests) == 1
    await slack_rig.deliver(within=3 * SECOND)
    assert len(server.requests) == 3


async def test_retry_after_date_is_read_against_the_clock(slack_rig: Rig, server: Server) -> None:
    server.replies.append(Reply(503, "", {"Retry-After": "Thu, 01 Jan 2026 12:05:00 GMT"}))
    await slack_rig.tell(detected())
    await slack_rig.deliver(within=299 * SECOND)
    assert len(server.requests) == 1
    await slack_rig.deliver(within=SECOND)
    assert len(server.requests) == 2


async def test_retry_after_is_capped_at_fifteen_minutes(slack_rig: Rig, server: Server) -> None:
    server.replies.append(Reply(429, "", {"Retry-After": "86400"}))
    await slack_rig.tell(detected())
    await slack_rig.deliver(within=15 * MINUTE)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 410, 302])
async def test_refusal_parks_one_channel_only(tmp_path: Path, server: Server, status: int) -> None:
    async with scripted_server() as other, http_rig(tmp_path, {"bad": server, "good": other}) as rig:
        server.replies.append(Reply(status, "no_service", {"Location": other.url()}))
        await rig.tell(detected())
        await rig.deliver("bad", within=25 * HOUR)
        await rig.deliver("good")
        assert (len(server.requests), len(other.requests)) == (1, 1)
        assert rig.log("bad") == [("refused", f"HTTP {status}: no_service")]
        assert rig.log("good") == [("delivered", "")]
        assert rig.count("channel_refused", channel="bad") == 1
        assert [fact["outcome"] for fact in rig.announced()] == ["refused", "delivered"]


async def test_slack_success_without_ok_is_refused(slack_rig: Rig, server: Server) -> None:
    server.replies.append(Reply(200, "invalid_blocks"))
    await slack_rig.tell(detected())
    await slack_rig.deliver(within=HOUR)
    assert slack_rig.log() == [("refused", "HTTP 200: invalid_blocks")]


async def test_refused_message_is_sent_after_address_changed(tmp_path: Path, rig: Rig, channel: ListChannel) -> None:
    channel.answers.append(Delivery("refused", "HTTP 404"))
    await rig.tell(detected())
    await rig.deliver()
    for address, sent in (("a", 1), ("b", 2)):
        stop = asyncio.Event()
        task = asyncio.create_task(rig.queue("ops", channel, address).run(stop))
        rig.clock.advance(SECOND)
        await asyncio.sleep(0.2)
        stop.set()
        await task
        assert len(channel.sent) == sent
    assert rig.log() == [("delivered", "")]


async def test_message_is_sent_again_after_crash_before_mark(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(detected())
    claim = await rig.database.run(rig.store.claim, "ops", SECOND)  # the process that took it sends, and dies
    assert isinstance(claim, Claim)
    await rig.deliver(within=59 * SECOND)
    assert channel.sent == []
    await rig.deliver(within=SECOND)
    assert len(channel.sent) == 1
    assert len(rig.announced()) == 1


async def test_second_replica_leaves_claimed_message_alone(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(*(detected(episode) for episode in range(1, 6)))
    other = rig.queue("ops", channel)
    for _ in range(40):
        await asyncio.gather(rig.queues["ops"].step(), other.step())
        rig.clock.advance(SECOND / 4)
    assert sorted(event.data.episode or 0 for event in channel.sent) == [1, 2, 3, 4, 5]


async def test_late_answer_cannot_undo_another_replicas_delivery(rig: Rig) -> None:
    await rig.tell(detected())
    late = await rig.database.run(rig.store.claim, "ops", SECOND)
    assert isinstance(late, Claim)
    await rig.deliver(within=MINUTE)
    await rig.database.run(rig.store.postpone, late, MINUTE, "timeout", hold=False)
    await rig.database.run(rig.store.finish, late, "refused", "late", "a")
    assert rig.log() == [("delivered", "")]
    assert len(rig.announced()) == 1


async def test_order_is_kept_within_group_while_retrying(rig: Rig, channel: ListChannel) -> None:
    channel.answers.extend([RETRY, Delivery("delivered"), RETRY])
    await rig.tell(detected(7), resolved(7), detected(8))
    await rig.deliver(within=MINUTE)
    told = [(event.data.TYPE, event.data.episode) for event in channel.sent]
    assert told[:2] == [("drift.detected", 7), ("drift.detected", 8)]
    assert told[2:] == [("drift.detected", 7), ("drift.detected", 7), ("drift.resolved", 7)]


async def test_messages_keep_one_second_apart(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(*(detected(episode) for episode in range(1, 31)))
    await rig.deliver(within=9.5 * SECOND)
    assert len(channel.sent) == 10


async def test_clock_jump_backwards_does_not_stop_delivery(rig: Rig, channel: ListChannel) -> None:
    channel.answers.extend([Delivery("delivered"), RETRY])
    await rig.tell(detected(1), detected(2), detected(3))
    await rig.deliver(within=SECOND)
    rig.clock.advance(-HOUR)
    await rig.deliver(within=10 * SECOND)
    assert {event.data.episode for event in channel.sent} == {1, 2, 3}


async def test_undeliverable_message_expires_after_a_day(rig: Rig, channel: ListChannel) -> None:
    channel.answers.extend([Delivery("retry", "HTTP 503", 900.0)] * 1000)
    await rig.tell(detected())
    await rig.deliver()
    rig.clock.advance(20 * HOUR)
    await rig.deliver(within=3 * HOUR)
    assert rig.log() == [("pending", "HTTP 503")]
    await rig.deliver(within=2 * HOUR)
    assert rig.log()[0][0] == "expired"
    assert rig.announced()[0]["outcome"] == "expired"
    assert len(channel.sent) == 17


async def test_message_is_tried_once_however_old(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(detected())
    rig.clock.advance(30 * HOUR)
    await rig.deliver()
    assert rig.log() == [("delivered", "")]


async def test_bug_in_channel_does_not_stop_its_queue(rig: Rig, channel: ListChannel) -> None:
    channel.answers.append(ZeroDivisionError("https://hooks.example/SECRET"))
    await rig.tell(detected(1), detected(2))
    await rig.deliver(within=MINUTE)
    assert [row[0] for row in rig.log()] == ["delivered", "delivered"]
    assert rig.count("delivery_tries_total", channel="ops", outcome="error") == 1


async def test_stop_lets_the_try_in_hand_finish(rig: Rig) -> None:
    begun = asyncio.Event()

    class Slow(ListChannel):
        async def send(self, event: object, occasion: object = None) -> Delivery:
            begun.set()
            await asyncio.sleep(0.3)
            return Delivery("delivered")

    await rig.tell(detected())
    stop = asyncio.Event()
    task = asyncio.create_task(rig.queue("ops", Slow()).run(stop))
    await begun.wait()
    stop.set()
    await task
    assert rig.log() == [("delivered", "")]


async def test_same_reason_of_rejection_is_told_hourly(rig: Rig, channel: ListChannel) -> None:
    for number in range(10):
        await rig.tell(rejected(f"in/{number}.csv"), rejected(f"in/{number}.gz", "too_large"))
    await rig.deliver(within=MINUTE)
    assert len(channel.sent) == 2
    rig.clock.advance(HOUR)
    await rig.tell(rejected("in/later.csv"))
    await rig.deliver(within=MINUTE)
    assert len(channel.sent) == 3
    assert rig.outcomes.count("folded") == 18


async def test_waiting_messages_show_in_the_gauges(rig: Rig, channel: ListChannel) -> None:
    channel.answers.append(RETRY)
    await rig.tell(detected())
    rig.clock.advance(90 * SECOND)
    await rig.deliver()
    assert rig.count("pending_deliveries", channel="ops") == 1
    assert rig.count("oldest_delivery_age_seconds", channel="ops") == 90


def test_backoff_doubles_up_to_fifteen_minutes() -> None:
    assert [backoff(n, 1.0).total_seconds() for n in (1, 2, 3, 20, 5000)] == [2, 4, 8, 900, 900]
    assert backoff(3, 0.0) == 4 * SECOND
    assert NOON + backoff(20, 0.5) < NOON + 15 * MINUTE
