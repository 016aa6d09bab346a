"""Taking again what was refused or missed: dead letters, and objects that S3 sent no notification of.

Nothing here decides whether something counts: it sends notifications to the intake queue, and the detector knows what it has.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from driftsonde.core.drops import Drop, as_message
from driftsonde.core.ports import Lease, ObjectInfo, Queue

_AT_ONCE = 10


class Sender(Protocol):
    """A queue that takes messages."""

    async def send(self, body: str) -> None:
        """Return when the message is stored."""
        ...


class Letter(NamedTuple):
    """A dead letter. `body`: the message as it came; None where too little of it was kept to send it again."""

    reason: str
    body: str | None


def parse_letter(text: str) -> Letter:
    """Read a dead letter; one that SQS itself moved there is the bare message."""
    try:
        letter = json.loads(text)
    except (ValueError, RecursionError):
        return Letter("unknown", text)
    if not isinstance(letter, dict) or not {"reason", "body"} <= letter.keys():
        return Letter("moved_by_sqs", text)
    return Letter(str(letter["reason"]), None if letter.get("truncated") else str(letter["body"]))


async def replay_dead_letters(
    letters: Queue,
    intake: Sender | None,
    *,
    reasons: Sequence[str] = (),
    limit: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Counter[str], Counter[str]]:
    """Move dead letters back to the intake queue: first sent, then deleted, so that a crash in between doubles one and loses none.

    Args:
        letters: the dead-letter queue.
        intake: where to; None to look only.
        reasons: those to move; none: all.
        limit: how many to move at most.
        progress: called for each that was moved.

    Returns:
        How many were moved, and how many were left, by reason.
    """
    moved: Counter[str] = Counter()
    left: Counter[str] = Counter()
    kept: list[Lease] = []
    try:
        while (limit is None or moved.total() < limit) and (leases := await letters.receive(_AT_ONCE)):
            for lease in leases:
                letter = parse_letter(lease.body)
                wanted = not reasons or letter.reason in reasons
                if intake is None or letter.body is None or not wanted or moved.total() == limit:
                    left[letter.reason] += 1
                    kept.append(lease)
                    continue
                await intake.send(letter.body)
                await lease.delete()
                moved[letter.reason] += 1
                progress()
    finally:  # hidden until now, so that each was seen once
        await asyncio.gather(*(lease.release(0) for lease in kept), return_exceptions=True)
    return moved, left


async def replay_objects(
    listed: AsyncIterator[tuple[str, ObjectInfo]], bucket: str, intake: Sender | None, *,
    since: datetime | None = None, progress: Callable[[], None] = lambda: None,
) -> int:  # fmt: skip
    """Notify of objects as S3 would have: in the order of their times, so that windows come about in it.

    Args:
        listed: keys and what is known of them.
        intake: where to; None to count only.
        since: only objects that were written then or later.

    Returns:
        How many objects.
    """
    found = [(info, key) async for key, info in listed if info.size and (since is None or info.modified >= since)]
    found.sort(key=lambda item: (item[0].modified, item[1]))
    if intake is not None:
        for some in (found[start : start + _AT_ONCE] for start in range(0, len(found), _AT_ONCE)):
            drops = [Drop("created", bucket, key, info.modified, info.size, info.etag) for info, key in some]
            await asyncio.gather(*(intake.send(as_message(drop)) for drop in drops))
            for _ in some:
                progress()
    return len(found)
