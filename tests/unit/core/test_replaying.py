"""Dead letters and objects are announced again, none twice and none lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from driftsonde.core.drops import parse_notification
from driftsonde.core.errors import RetryableError
from driftsonde.core.ports import ObjectInfo
from driftsonde.core.replaying import parse_letter, replay_dead_letters, replay_objects
from driftsonde.core.testing.queue import MemoryQueue

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(reason: str, body: str, **more: object) -> str:
    return json.dumps({"reason": reason, "detail": "because", "body": body, **more})


async def waiting(queue: MemoryQueue) -> list[str]:
    return sorted(lease.body for lease in await queue.receive(100))


async def test_letters_come_back_as_they_were() -> None:
    letters, intake = MemoryQueue(*(letter("too_large", f"message {number}") for number in range(25))), MemoryQueue()
    moved, left = await replay_dead_letters(letters, intake)
    assert (moved, left) == ({"too_large": 25}, {})
    assert await waiting(intake) == sorted(f"message {number}" for number in range(25))
    assert await waiting(letters) == []


async def test_only_the_reasons_that_were_asked_for_are_moved_and_the_others_stay_visible() -> None:
    letters, intake = MemoryQueue(letter("too_large", "a"), letter("not_json", "b"), letter("bad_rows", "c")), MemoryQueue()
    moved, left = await replay_dead_letters(letters, intake, reasons=["too_large", "bad_rows"])
    assert moved == {"too_large": 1, "bad_rows": 1}
    assert left == {"not_json": 1}
    assert await waiting(letters) == [letter("not_json", "b")]


async def test_limit_holds_and_what_was_not_moved_stays() -> None:
    letters, intake = MemoryQueue(*(letter("bad_rows", str(number)) for number in range(12))), MemoryQueue()
    moved, _ = await replay_dead_letters(letters, intake, limit=3)
    assert moved.total() == 3
    assert len(await waiting(letters)) == 9


async def test_looking_moves_nothing() -> None:
    letters = MemoryQueue(letter("bad_rows", "a"), letter("not_json", "b"))
    assert await replay_dead_letters(letters, None) == ({}, {"bad_rows": 1, "not_json": 1})
    assert len(await waiting(letters)) == 2


async def test_letter_whose_message_was_cut_short_is_left() -> None:
    letters, intake = MemoryQueue(letter("not_json", "half a mess", truncated=True)), MemoryQueue()
    assert await replay_dead_letters(letters, intake) == ({}, {"not_json": 1})
    assert await waiting(intake) == []


async def test_letter_that_cannot_be_sent_is_not_lost() -> None:
    class Away(MemoryQueue):
        async def send(self, body: str) -> None:
            raise RetryableError("away")

    letters = MemoryQueue(letter("bad_rows", "a"))
    with pytest.raises(RetryableError):
        await replay_dead_letters(letters, Away())
    letters.expire()
    assert len(await waiting(letters)) == 1


@pytest.mark.parametrize("text", ["not json", "[1]", '{"Records": []}', '{"reason": "x"}'])
def test_what_sqs_moved_itself_is_the_message(text: str) -> None:
    assert parse_letter(text).body == text


async def test_objects_are_announced_in_the_order_of_their_times() -> None:
    async def listed() -> AsyncIterator[tuple[str, ObjectInfo]]:
        for number, key in enumerate(["in/c d+é.parquet", "in/b.parquet", "in/a.parquet", "in/folder/"]):
            yield key, ObjectInfo(0 if key.endswith("/") else 9, f"etag{number}", None, NOON - timedelta(hours=number))

    intake = MemoryQueue()
    assert await replay_objects(listed(), "acme", None) == 3
    assert await replay_objects(listed(), "acme", intake, since=NOON - timedelta(minutes=90)) == 2
    drops = [parse_notification(lease.body).drops[0] for lease in await intake.receive(10)]
    assert [(drop.bucket, drop.key, drop.etag, drop.event_time) for drop in drops] == [
        ("acme", "in/b.parquet", "etag1", NOON - timedelta(hours=1)),
        ("acme", "in/c d+é.parquet", "etag0", NOON),
    ]
    assert all(drop.kind == "created" for drop in drops)
