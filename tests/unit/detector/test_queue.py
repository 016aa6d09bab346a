"""The SQS queue on a real emulator: leases, batches, and what a batch hides."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from driftsonde.core.aws.queue import QueueCounters, SqsLease, SqsQueue
from driftsonde.core.aws.session import aws_client
from driftsonde.core.errors import ConfigError, DriftsondeError, LeaseLost, PoisonError, RetryableError
from driftsonde.core.leases import settle
from driftsonde.detector.metrics import DetectorMetrics


@pytest.fixture
async def sqs(emulator: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A client of the emulator."""
    variables = {"AWS_ENDPOINT_URL": emulator, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with aws_client("sqs") as client:
        yield client


@pytest.fixture
async def queue(sqs: Any) -> SqsQueue:
    """A queue of this test alone, with a dead-letter queue, two seconds of lease and no long poll."""
    urls = [(await sqs.create_queue(QueueName=f"{name}-{uuid.uuid4().hex[:12]}"))["QueueUrl"] for name in ("intake", "dead")]
    return SqsQueue(sqs, urls[0], dead_letters=urls[1], lease=2, wait=0)


async def received(queue: SqsQueue, count: int) -> list[SqsLease]:
    """Receive until there are as many messages as wanted."""
    leases: list[SqsLease] = []
    async with asyncio.timeout(10):
        while len(leases) < count:
            leases += await queue.receive(count - len(leases))
    return leases


async def letters(queue: SqsQueue, sqs: Any) -> list[dict[str, Any]]:
    """Return what is in the dead-letter queue."""
    assert queue._dead_letters is not None
    dead = SqsQueue(sqs, queue._dead_letters, wait=1)
    return [json.loads(lease.body) for lease in await dead.receive(10)]


def counters() -> QueueCounters:
    """Return counters that nobody else counts with."""
    return DetectorMetrics().leases


class Counting:
    """A client that counts batches, takes its time, and fails some entries."""

    def __init__(self, client: Any, *, refuse: Sequence[str] = ()) -> None:
        self.batches: list[int] = []
        self._client, self._refuse = client, set(refuse)

    async def delete_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        self.batches.append(len(Entries))
        await asyncio.sleep(0.05)
        bad = [entry for entry in Entries if entry["ReceiptHandle"] in self._refuse]
        good = [entry for entry in Entries if entry not in bad]
        answer = await self._client.delete_message_batch(QueueUrl=QueueUrl, Entries=good) if good else {}
        return {**answer, "Failed": [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in bad]}


async def test_message_is_received_with_its_deliveries_and_deleted(queue: SqsQueue) -> None:
    await queue.send("one")
    (lease,) = await received(queue, 1)
    assert (lease.body, lease.deliveries) == ("one", 1)
    await lease.release(0)
    (again,) = await received(queue, 1)
    assert again.deliveries == 2
    await again.delete()
    await asyncio.sleep(2.2)
    assert await queue.receive(1) == []


async def test_never_more_messages_than_slots(queue: SqsQueue) -> None:
    await asyncio.gather(*(queue.send(str(number)) for number in range(6)))
    assert len(await queue.receive(2)) <= 2


async def test_deletes_share_requests_and_all_end(queue: SqsQueue, sqs: Any) -> None:
    await asyncio.gather(*(queue.send(str(number)) for number in range(25)))
    leases = await received(queue, 25)
    counting = queue._client = Counting(sqs)

    async def later(place: int, lease: SqsLease) -> None:
        await asyncio.sleep(place * 0.004)  # some while a request is under way, which must not be forgotten
        await lease.delete()

    async with asyncio.timeout(5):
        await asyncio.gather(*(later(place, lease) for place, lease in enumerate(leases)))
    assert sum(counting.batches) == 25
    assert len(counting.batches) < 12
    assert max(counting.batches) <= 10


async def test_entry_that_fails_in_a_batch_fails_alone(queue: SqsQueue, sqs: Any) -> None:
    await asyncio.gather(*(queue.send(str(number)) for number in range(5)))
    leases = await received(queue, 5)
    queue._client = Counting(sqs, refuse=[leases[3]._receipt])
    results = await asyncio.gather(*(lease.delete() for lease in leases), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 3 + [RetryableError] + [type(None)]


async def test_cancelled_delete_does_not_hold_up_others(queue: SqsQueue) -> None:
    await asyncio.gather(*(queue.send(str(number)) for number in range(2)))
    leases = await received(queue, 2)
    tasks = [asyncio.create_task(lease.delete()) for lease in leases]
    await asyncio.sleep(0)
    tasks[0].cancel()
    async with asyncio.timeout(5):
        await tasks[1]


async def test_lease_is_renewed_while_work_goes_on(queue: SqsQueue) -> None:
    await queue.send("long")
    (lease,) = await received(queue, 1)

    async def work(_lease: object) -> None:
        await asyncio.sleep(3.0)
        assert await queue.receive(1) == [], "it is still ours"

    assert await settle(lease, work) == "ok"


async def test_poison_moves_with_reason_and_body(queue: SqsQueue, sqs: Any) -> None:
    await queue.send("nonsense \x09 é")
    (lease,) = await received(queue, 1)

    async def work(_lease: object) -> None:
        raise PoisonError("why \x00", reason="not_json")

    assert await settle(lease, work) == "not_json"
    assert await letters(queue, sqs) == [{"reason": "not_json", "detail": "why \x00", "body": "nonsense \x09 é"}]


async def test_long_body_is_cut_to_what_a_message_holds(queue: SqsQueue, sqs: Any) -> None:
    await queue.dead_letter("é" * 900_000, "unknown_shape", "long")
    (letter,) = await letters(queue, sqs)
    assert letter["truncated"]
    assert letter["body"].startswith("éé")


async def test_queue_without_dead_letters_takes_none() -> None:
    with pytest.raises(ConfigError, match="dead-letter"):
        await SqsQueue(None, "http://queue").dead_letter("body", "reason", "detail")


async def test_queue_that_is_not_there_is_retryable(queue: SqsQueue, sqs: Any) -> None:
    missing = SqsQueue(sqs, queue.url + "-missing", dead_letters=queue.url, wait=0)
    with pytest.raises(RetryableError):
        await missing.receive(1)
    with pytest.raises(RetryableError):
        await missing.delete("receipt")


async def test_queue_tells_after_how_many_receives_it_gives_a_message_up(sqs: Any, queue: SqsQueue) -> None:
    assert await queue.max_receives() is None
    dead = (await sqs.create_queue(QueueName=f"native-{uuid.uuid4().hex[:12]}"))["QueueUrl"]
    arn = (await sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "7"})
    await sqs.set_queue_attributes(QueueUrl=queue.url, Attributes={"RedrivePolicy": policy})
    assert await queue.max_receives() == 7


async def test_counts_tell_what_waits_what_is_taken_and_the_dead_letters(queue: SqsQueue) -> None:
    for number in range(3):
        await queue.send(f"m{number}")
    (lease,) = await received(queue, 1)
    assert await queue.counts() == (2, 1, 0)
    await lease.dead_letter("poison", "why")
    assert await queue.counts() == (2, 0, 0)
    assert await queue.letters().counts() == (1, 0, 0)


async def test_counts_of_a_queue_that_is_gone_are_retried_later(sqs: Any, queue: SqsQueue) -> None:
    await sqs.delete_queue(QueueUrl=queue.url)
    with pytest.raises(DriftsondeError):
        await queue.counts()
    with pytest.raises(ConfigError):
        SqsQueue(sqs, queue.url).letters()


async def test_message_tells_when_it_was_sent(queue: SqsQueue) -> None:
    began = datetime.now(UTC)
    await queue.send("body")
    (lease,) = await received(queue, 1)
    assert lease.sent_at is not None
    assert abs((lease.sent_at - began).total_seconds()) < 10


async def test_renewals_and_dead_letters_are_counted(queue: SqsQueue) -> None:
    queue.counters = counters()
    await queue.send("body")
    (lease,) = await received(queue, 1)
    keepalive = asyncio.create_task(lease.extend_forever())
    async with asyncio.timeout(10):
        while not queue.counters.renewed._value.get():
            await asyncio.sleep(0.05)
    keepalive.cancel()
    await lease.dead_letter("unreadable", "no file")
    assert queue.counters.dead_letters.labels("unreadable")._value.get() == 1
    assert queue.counters.lost._value.get() == 0


async def test_lease_that_is_lost_is_counted(queue: SqsQueue) -> None:
    queue.counters = counters()
    await queue.send("body")
    (lease,) = await received(queue, 1)
    queue.url += "-missing"
    with pytest.raises(LeaseLost):
        await lease.extend_forever()
    assert queue.counters.lost._value.get() == 1
