"""How a delivered event ends: one middleware decides for every subscriber.

Acknowledgement is MANUAL everywhere: FastStream's default policy terminates a message whose handler raised, and it would
be gone. Dead letters are ours, because no broker here has any.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from faststream import BaseMiddleware
from faststream.nats import NatsMessage

from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.log import get_logger

log = get_logger(__name__)

MAX_DELIVERIES = 20
"""Of an event whose handler says that something is away: about an hour."""
MAX_BUGS = 8
"""Of an event whose handler fails in a way that nobody foresaw: two minutes. Order is kept, so that it holds up those behind it."""
ACK_WAIT_SECONDS = 30.0
_RETRY_CAP = 300.0

DeadLetter = Callable[[bytes, str, str], Awaitable[None]]
"""Stores (body, reason, detail) where people look."""


async def heartbeat(msg: NatsMessage) -> None:
    """Tell the broker that the handler is still at work, until cancelled."""
    while True:
        await asyncio.sleep(ACK_WAIT_SECONDS / 3)
        await msg.in_progress()


def settling(dead_letter: DeadLetter) -> type[BaseMiddleware[Any, Any]]:
    """Return the middleware that acknowledges, delays or dead-letters each message exactly once."""

    class Settling(BaseMiddleware[Any, Any]):
        """Turns the outcome of a handler into the one ending of its message."""

        async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> Any:
            """Run the handler, then settle."""
            alive = asyncio.create_task(heartbeat(msg))
            try:
                result = await call_next(msg)
            except PoisonError as exc:
                await _reject(msg, dead_letter, exc.reason, str(exc))
            except RetryableError as exc:
                await _again(msg, dead_letter, exc.retry_after, str(exc))
            except Exception as exc:  # the only broad handler: an unknown error is redelivered with delay, never lost
                log.exception("unexpected error in a handler")
                await _again(msg, dead_letter, 1.0, repr(exc), most=MAX_BUGS)
            else:
                await msg.ack()
                return result
            finally:
                alive.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await alive
            return None

    return Settling


async def _again(msg: NatsMessage, dead_letter: DeadLetter, delay: float, detail: str, *, most: int = MAX_DELIVERIES) -> None:
    pause = pause_before_next(msg.raw_message.metadata.num_delivered, delay, most)
    if pause is None:
        await _reject(msg, dead_letter, "max_deliveries", detail)
    else:
        await msg.nack(delay=pause)


def pause_before_next(deliveries: int, delay: float, most: int) -> float | None:
    """Return after how many seconds an event is to come again, twice as long each time; None when it was delivered often enough.

    Args:
        deliveries: so far, the failed one included.
        delay: seconds after the first.
        most: of deliveries.
    """
    return None if deliveries >= most else min(delay * 2 ** (deliveries - 1), _RETRY_CAP)


async def _reject(msg: NatsMessage, dead_letter: DeadLetter, reason: str, detail: str) -> None:
    log.error("event dead-lettered", reason=reason, detail=detail, subject=msg.raw_message.subject)
    await dead_letter(msg.body, reason, detail)  # first: a crash before the reject means a second dead letter, never none
    await msg.reject()
