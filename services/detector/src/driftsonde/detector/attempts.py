"""Drops that may kill the process: what was being read when it died is read alone next time, and in the end no more.

A process that runs out of memory leaves nothing behind but messages that come again, those of innocent drops beside it too. So an
attempt is stored before a drop is read that was delivered before, and taken back after it, however that went. What is still there
when the message comes again was under way when a process died: it is read while nothing else is, and after three deaths refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, select

from driftsonde.core.drops import Drop
from driftsonde.core.errors import Deferred, RetryableError, UnreadableObject
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.detector import store

DEATHS: Final = 3
"""Stored deaths before a drop is refused. The first is not stored, as a drop that comes for the first time costs no transaction; and
that a message comes again does not prove one."""
_KEPT: Final = timedelta(days=30)


class Attempts:
    """Admits drops to be read.

    Args:
        probation: how long a process must have lived before it reads what another died over. Where something else kills one
            process after the other, drops would be blamed for it.
    """

    def __init__(self, database: Database, clock: Clock, *, probation: timedelta = timedelta(0)) -> None:
        self._database, self._clock = database, clock
        self._room = _Room()
        self._trusted_from = time.monotonic() + probation.total_seconds()

    @contextlib.asynccontextmanager
    async def reading(self, drop: Drop, deliveries: int) -> AsyncIterator[None]:
        """Read a drop in this block.

        Args:
            deliveries: how often its message came, this time included.

        Raises:
            UnreadableObject: `crash`, if processes died again and again while they read it.
            Deferred: if this process is too young to read what another died over.
            RetryableError: when the database stays away.
        """
        if deliveries <= 1:
            async with self._room.together():
                yield
            return
        # Stored once it is our turn: what only waits when a process dies is innocent.
        before = await self._database.look(deaths_of, drop)
        if before >= DEATHS:
            raise UnreadableObject(f"{drop.uri}: {before} processes died while they read it", reason="crash")
        wait = self._trusted_from - time.monotonic()
        if before and wait > 0:
            raise Deferred(f"{drop.uri}: a process died while it read it", retry_after=wait)
        async with self._room.alone() if before else self._room.together():
            await self._database.run(self.begin, drop, before + 1)
            try:
                yield
            finally:
                with contextlib.suppress(RetryableError):  # it stays, and the drop is read alone next time
                    await self._database.run(self.end, drop)

    def begin(self, connection: Connection, drop: Drop, count: int, *, delay: timedelta = timedelta(0)) -> None:
        """Store an attempt. Set, not added to: two messages of one drop are read side by side, and die one death.

        Args:
            count: deaths, if this is one.
            delay: until it begins.
        """
        table, key = store.attempt, _key(drop)
        values = {**key, "count": count, "at": self._clock.now() + delay}
        self._database.put(connection, table, values, key=tuple(key), update=("count", "at"))

    def renew(self, connection: Connection, drop: Drop) -> None:
        """Show that an attempt is still under way."""
        table = store.attempt
        here = (table.c[name] == value for name, value in _key(drop).items())
        connection.execute(table.update().where(*here).values(at=self._clock.now()))

    def end(self, connection: Connection, drop: Drop) -> None:
        """Take an attempt back: nothing died."""
        table = store.attempt
        connection.execute(table.delete().where(*(table.c[name] == value for name, value in _key(drop).items())))
        connection.execute(table.delete().where(table.c.at < self._clock.now() - _KEPT))


def deaths_of(connection: Connection, drop: Drop) -> int:
    """Return how many deaths are stored of a drop."""
    table = store.attempt
    count: int | None = connection.scalar(select(table.c.count).where(*(table.c[name] == value for name, value in _key(drop).items())))
    return count or 0


def _key(drop: Drop) -> dict[str, Any]:
    return {"bucket": drop.bucket, "key": drop.key, "content": drop.version or drop.etag or drop.sequencer or ""}


class _Room:
    """Many side by side, or one alone."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = asyncio.Condition()
        self._door = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        async with self._door:  # held by whoever wants to be alone
            self._inside += 1
        try:
            yield
        finally:
            await self._leave()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._door:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._inside)
            yield

    async def _leave(self) -> None:
        self._inside -= 1
        async with self._changed:
            self._changed.notify_all()
