"""Receives, and stops receiving while something is wrong. Knows messages and nothing of what is in them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from driftsonde.core.errors import POISON_REASONS, RetryableError
from driftsonde.core.leases import Handle, settle
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Lease, Queue

log = get_logger(__name__)

_LONGEST_PAUSE = 60.0
_BEAT_SECONDS = 10.0
_FIRST_PAUSE = 1.0
_FLOOD_OF, _FLOOD_SHARE = 50, 0.2


class Watch(Protocol):
    """Who is told of the leases that are held."""

    def polled(self, seconds: float, leases: Sequence[Lease]) -> None:
        """A poll brought these leases, or none."""
        ...

    def ended(self, lease: Lease) -> None:
        """A lease is held no more, however it ended."""
        ...


class _Flood:
    """Whether so much is poison that something else must be wrong: a format that changed, a producer gone mad."""

    def __init__(self) -> None:
        self._last: deque[bool] = deque(maxlen=_FLOOD_OF)

    def note(self, outcome: str, *, probing: bool) -> None:
        """Note how a message ended; what is readable while we probe ends the flood."""
        if probing and outcome == "ok":
            self.end()
        elif outcome == "ok" or outcome in POISON_REASONS:
            self._last.append(outcome != "ok")

    def end(self) -> None:
        """Start anew."""
        self._last.clear()

    def trouble(self) -> str | None:
        """Return what to tell, if there is a flood."""
        bad = sum(self._last)
        if len(self._last) < _FLOOD_OF or bad <= _FLOOD_SHARE * _FLOOD_OF:
            return None
        return f"{bad} of the last {_FLOOD_OF} messages are poison: receiving one at a time until one is not"


async def consume(
    queue: Queue, handle: Handle, *, stop: asyncio.Event, slots: int, health: Health, tally: Callable[[str], None], watch: Watch | None = None
) -> None:  # fmt: skip
    """Poll until `stop` is set, then finish what was begun and give back what was not.

    Never holds more messages than there are free slots. An outage (of the queue, or of what drops need: as many failures in a
    row as there are slots) stops receiving, with growing pauses and one message at a time to see whether it is over: messages
    that are released over and over would run into the queue's own dead-letter limit. So does a flood of poison: the queue is a
    better place for what may be readable tomorrow than the dead letters.
    """
    working: set[asyncio.Task[None]] = set()
    pause, failures, flood = 0.0, 0, _Flood()

    def ended(outcome: str) -> None:
        nonlocal failures
        failures = failures + 1 if outcome == "retryable" else 0
        flood.note(outcome, probing=pause > 0)
        tally(outcome)

    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            health.beat("consumer")
            if len(working) >= slots:  # beats go on: a large drop may take longer than a dead loop is given
                await asyncio.wait(working, timeout=_BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                continue
            polled = time.monotonic()
            leases, trouble = await _receive(queue, 1 if pause else slots - len(working), health)
            if watch is not None and trouble is None:
                watch.polled(time.monotonic() - polled, leases)
            if stop.is_set():
                await asyncio.gather(*(lease.release(0) for lease in leases), return_exceptions=True)
                return
            begun = [group.create_task(_work(lease, handle, ended, watch)) for lease in leases]
            for task in begun:
                working.add(task)
                task.add_done_callback(working.discard)
            if begun and pause:
                await _finished(begun, health)
            if trouble is None and failures >= slots:
                trouble = f"{failures} drops in a row could not be taken"
            if pause and not leases:
                flood.end()  # nothing waits any more
            trouble = trouble or flood.trouble()
            pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE) if trouble else 0.0
            health.report("queue", trouble)
            if pause:
                await wait_or_stop(stop, pause)


async def _receive(queue: Queue, room: int, health: Health) -> tuple[list[Lease], str | None]:
    poll = asyncio.ensure_future(queue.receive(room))
    try:
        while not (await asyncio.wait({poll}, timeout=_BEAT_SECONDS))[0]:
            health.beat("consumer")
        return list(poll.result()), None
    except RetryableError as exc:
        log.warning("cannot receive", error=str(exc))
        return [], str(exc)


async def _finished(tasks: list[asyncio.Task[None]], health: Health) -> None:
    waiting = set(tasks)
    while waiting:
        health.beat("consumer")
        _, waiting = await asyncio.wait(waiting, timeout=_BEAT_SECONDS)


async def _work(lease: Lease, handle: Handle, ended: Callable[[str], None], watch: Watch | None) -> None:
    try:
        outcome = await settle(lease, handle)
    except RetryableError as exc:
        log.warning("message could not be settled; it will come again", error=str(exc))
        outcome = "retryable"
    finally:
        if watch is not None:
            watch.ended(lease)
    ended(outcome)
