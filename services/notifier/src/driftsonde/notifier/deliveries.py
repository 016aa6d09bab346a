"""One queue per channel: a broken channel delays its own messages, never another's."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from driftsonde.core import tracing
from driftsonde.core.config import QuietHours
from driftsonde.core.errors import PoisonError, RetryableError
from driftsonde.core.events import parse_event
from driftsonde.core.lifecycle import Health
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Channel, Clock, Delivery, Occasion
from driftsonde.core.store.engine import Database
from driftsonde.notifier.metrics import NotifierMetrics
from driftsonde.notifier.quiet import passing
from driftsonde.notifier.store import GIVE_UP, LEASE, MAX_DELAY, Claim, Store

log = get_logger(__name__)

SEND_SECONDS: Final = 20.0
"""Longest try; under the lease, so that nobody else sends meanwhile, and under the grace of a shutdown."""
POLL_SECONDS: Final = 5.0
"""How soon a queue notices what another replica left behind."""
assert LEASE.total_seconds() > SEND_SECONDS


@dataclass(frozen=True, slots=True)
class Link:
    """A configured channel, ready to use.

    `pace` lies between two messages; `address` is a digest of where it leads, not the address itself; `quiet` is when it is left
    alone.
    """

    name: str
    channel: Channel
    pace: timedelta
    address: str
    quiet: QuietHours | None = None


def backoff(attempts: int, draw: float) -> timedelta:
    """Return the delay after the given number of tries: doubling from 2 s to 15 min, the upper half drawn by chance.

    Args:
        attempts: tries so far, at least 1.
        draw: a random number in [0, 1).
    """
    seconds = min(2.0 ** min(attempts, 30), MAX_DELAY.total_seconds())
    return timedelta(seconds=seconds * (0.5 + draw / 2))


class ChannelQueue:
    """Delivers what is queued for one channel, oldest first within each group.

    Args:
        link: the channel.
        announced: called when a delivery ended and its event waits in the outbox.
        draw: random numbers in [0, 1) for the jitter.
    """

    def __init__(
        self, link: Link, store: Store, database: Database, clock: Clock, health: Health, metrics: NotifierMetrics, *,
        announced: Callable[[], None], draw: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self.link = link
        self._store, self._database, self._clock, self._health, self._metrics = store, database, clock, health, metrics
        self._announced, self._draw = announced, draw
        self._wake = asyncio.Event()
        self._refused = False

    def wake(self) -> None:
        """Say that something new is queued."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; a try that has begun is finished first."""
        resumed: int | None = None
        while not stop.is_set():
            self._health.beat(f"channel {self.link.name}")
            self._wake.clear()
            try:
                if resumed is None:
                    resumed = await self._database.run(self._store.resume, self.link.name, self.link.address)
                wait = await self.step()
                self._health.report("database", None)
            except RetryableError as exc:
                self._health.report("database", str(exc))
                log.warning("deliveries wait for the database", channel=self.link.name, error=str(exc))
                wait = exc.retry_after
            if wait > 0:
                await self._sleep(min(wait, POLL_SECONDS), stop)

    async def step(self) -> float:
        """Try the next delivery and return 0, or return the seconds until there may be one."""
        name = self.link.name
        severities = passing(self.link.quiet, self._clock.now())
        claim = await self._database.run(self._store.claim, name, self.link.pace, severities)
        if isinstance(claim, Claim):
            with tracing.span("deliver", _trace_of(claim.body), channel=name):
                await self._settle(claim, await self._try(claim))
        count, oldest, held = await self._database.look(self._store.waiting, name, severities)
        self._metrics.pending.labels(name).set(count)
        self._metrics.held.labels(name).set(held)
        self._metrics.oldest.labels(name).set(oldest)
        return 0.0 if isinstance(claim, Claim) else claim

    async def _try(self, claim: Claim) -> Delivery | None:
        """Send once; None when it is too late to try again."""
        # Each message is tried at least once, however long the service was down.
        if claim.attempts > 1 and self._clock.now() - claim.created_at >= GIVE_UP:
            return None
        thread = await self._database.look(self._store.thread, claim, self.link.address)
        began = time.monotonic()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                return await self.link.channel.send(parse_event(claim.body.encode()), Occasion(claim.reminder, thread))
        except TimeoutError:
            return Delivery("retry", "timeout")
        except PoisonError as exc:
            return Delivery("refused", f"stored event cannot be read: {exc.reason}")
        except Exception as exc:  # the only broad handler: a bug in one message must not stop the channel's queue
            # No traceback and no text: both may hold the channel's secret address.
            log.error("unexpected error in a channel", channel=claim.channel, error=type(exc).__name__)
            self._metrics.tries.labels(claim.channel, "error").inc()
            return Delivery("retry", f"unexpected {type(exc).__name__}")
        finally:
            self._metrics.send_time.labels(claim.channel).observe(time.monotonic() - began, tracing.exemplar())

    async def _settle(self, claim: Claim, result: Delivery | None) -> None:
        """Store how a try ended, for as long as it takes: what was sent and not marked is sent again."""
        while True:
            try:
                await self._mark(claim, result)
                break
            except RetryableError as exc:
                self._health.beat(f"channel {claim.channel}")
                log.warning("sent but not yet marked", channel=claim.channel, event_id=claim.event_id, error=str(exc))
                await asyncio.sleep(exc.retry_after)
        outcome = result.outcome if result else "expired"
        self._metrics.tries.labels(claim.channel, outcome).inc()
        level = log.warning if outcome in ("retry", "expired") else log.info
        level("delivery tried", channel=claim.channel, event_id=claim.event_id, outcome=outcome,
              attempts=claim.attempts, detail=result.detail if result else "")  # fmt: skip
        self._note_refusal(outcome, result.detail if result else "")

    async def _mark(self, claim: Claim, result: Delivery | None) -> None:
        if result is None:
            await self._database.run(self._store.finish, claim, "expired", "not delivered within 24 hours", self.link.address)
        elif result.outcome == "retry":
            # Whoever says when to come back speaks for the whole channel; any other failure holds up its own group.
            asked = timedelta(seconds=min(result.retry_after or 0.0, MAX_DELAY.total_seconds()))
            delay = asked or backoff(claim.attempts, self._draw())
            await self._database.run(self._store.postpone, claim, delay, result.detail, hold=bool(asked))
            return
        else:
            await self._database.run(
                self._store.finish, claim, result.outcome, result.detail, self.link.address, begun=result.thread
            )  # fmt: skip
        self._announced()

    def _note_refusal(self, outcome: str, detail: str) -> None:
        """Raise the alarm once, when a channel begins to refuse for good, and take it back when it accepts."""
        if outcome == "refused" and not self._refused:
            log.error("channel refuses messages; correct it and restart", channel=self.link.name, detail=detail)
        if outcome in ("refused", "delivered"):
            self._refused = outcome == "refused"
            self._metrics.refused.labels(self.link.name).set(self._refused)

    async def _sleep(self, seconds: float, stop: asyncio.Event) -> None:
        waiters = [asyncio.create_task(self._wake.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()


def _trace_of(body: str) -> str | None:
    """Return the traceparent of a stored event; what else is wrong with it `_try` will say."""
    try:
        return tracing.valid(json.loads(body).get("traceparent"))
    except (ValueError, AttributeError, RecursionError):
        return None
