"""Lease, handle, settle. Knows messages and nothing of what is in them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Lease, Queue

log = get_logger(__name__)

Handle = Callable[[Lease], Awaitable[None]]
_LONGEST_PAUSE = 60.0


async def settle(lease: Lease, handle: Handle) -> str:
    """Run `handle` under the lease, and end it exactly one way; returns the outcome."""
    keepalive = asyncio.create_task(lease.extend_forever())
    try:
        await handle(lease)
        await lease.delete()  # last: a crash before here means redelivery, never loss
    except PoisonError as exc:
        log.warning("message dead-lettered", reason=exc.reason, detail=str(exc))
        await lease.dead_letter(exc.reason, str(exc))
        return exc.reason
    except RetryableError as exc:
        log.warning("message released", error=str(exc), retry_after=exc.retry_after)
        with contextlib.suppress(RetryableError):  # if the queue is away, the lease lapses by itself
            await lease.release(exc.retry_after)
        return "retryable"
    except Exception:  # the only broad handler: the lease lapses and SQS redelivers
        log.exception("unexpected error; message left for redelivery")
        return "bug"
    finally:
        keepalive.cancel()
    return "ok"


async def consume(queue: Queue, handle: Handle, *, stop: asyncio.Event, slots: int, health: Health, tally: Callable[[str], None]) -> None:
    """Poll until `stop` is set, then finish what was begun and give back what was not.

    Never holds more messages than there are free slots. An outage stops receiving, with growing pauses: messages that are
    released over and over would run into the queue's own dead-letter limit.
    """
    free = asyncio.Semaphore(slots)
    pause = 0.0
    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            health.beat("consumer")
            await free.acquire()
            room = 1
            while room < slots and not free.locked():
                await free.acquire()
                room += 1
            leases, trouble = await _receive(queue, room)
            for _ in range(room - len(leases)):
                free.release()
            if stop.is_set():
                await asyncio.gather(*(lease.release(0) for lease in leases), return_exceptions=True)
                return
            ended = [group.create_task(_work(lease, handle, free, tally)) for lease in leases]
            if trouble is None and ended and pause:
                trouble = await _first_trouble(ended)
            pause = min(max(pause * 2, 1.0), _LONGEST_PAUSE) if trouble else 0.0
            health.report("queue", trouble)
            if pause:
                await wait_or_stop(stop, pause)


async def _receive(queue: Queue, room: int) -> tuple[list[Lease], str | None]:
    try:
        return list(await queue.receive(room)), None
    except RetryableError as exc:
        log.warning("cannot receive", error=str(exc))
        return [], str(exc)


async def _first_trouble(tasks: list[asyncio.Task[str]]) -> str | None:
    """After an outage one batch is watched to its end before more is taken."""
    outcomes = await asyncio.gather(*tasks)
    return "still failing" if all(outcome == "retryable" for outcome in outcomes) else None


async def _work(lease: Lease, handle: Handle, free: asyncio.Semaphore, tally: Callable[[str], None]) -> str:
    try:
        outcome = await settle(lease, handle)
    except RetryableError as exc:
        log.warning("message could not be settled; it will come again", error=str(exc))
        outcome = "retryable"
    finally:
        free.release()
    tally(outcome)
    return outcome
