"""SageMaker's state changes, as EventBridge sends them to a queue: a hint to look sooner, never the truth.

They come late, twice or not at all; the watcher describes every job anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from driftsonde.core.errors import RetryableError
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Queue

log = get_logger(__name__)
_SLOTS = 10


async def listen(queue: Queue, stop: asyncio.Event, health: Health, changed: Callable[[], None]) -> None:
    """Receive until `stop` is set; whatever comes, somebody should look."""
    while not stop.is_set():
        health.beat("job_states")
        try:
            leases = await queue.receive(_SLOTS)
            if leases:
                changed()
            await asyncio.gather(*(lease.delete() for lease in leases))
        except RetryableError as exc:
            log.warning("cannot receive state changes; jobs are still polled", error=str(exc))
            await wait_or_stop(stop, exc.retry_after)
