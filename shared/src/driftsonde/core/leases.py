"""Lease, handle, settle: how every message of a queue ends, whatever is in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from driftsonde.core.errors import Deferred, PoisonError, RetryableError
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Lease

log = get_logger(__name__)

Handle = Callable[[Lease], Awaitable[None]]


async def settle(lease: Lease, handle: Handle) -> str:
    """Run `handle` under the lease, and end it exactly one way; returns the outcome.

    Raises:
        RetryableError: if the queue did not take the ending; the lease lapses and the message comes again.
    """
    keepalive = asyncio.create_task(lease.extend_forever())
    try:
        await _while_held(asyncio.ensure_future(handle(lease)), keepalive)
        await lease.delete()  # last: a crash before here means redelivery, never loss
    except PoisonError as exc:
        log.warning("message dead-lettered", reason=exc.reason, detail=str(exc))
        await lease.dead_letter(exc.reason, str(exc))
        return exc.reason
    except RetryableError as exc:
        log.warning("message released", error=str(exc), retry_after=exc.retry_after)
        outcome = "deferred" if isinstance(exc, Deferred) else "retryable"
        with contextlib.suppress(RetryableError):  # if the queue is away, the lease lapses by itself
            await lease.release(exc.retry_after)
        return outcome
    except Exception:  # the only broad handler: the lease lapses and SQS redelivers
        log.exception("unexpected error; message left for redelivery")
        return "bug"
    finally:
        keepalive.cancel()
    return "ok"


async def _while_held(work: asyncio.Future[None], keepalive: asyncio.Task[None]) -> None:
    """Wait for the work, and give it up when the lease is lost: whoever has the message now does it.

    Raises:
        LeaseLost: if the lease ended first.
    """
    try:
        await asyncio.wait({work, keepalive}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    if work.cancelled():
        await keepalive
    await work
