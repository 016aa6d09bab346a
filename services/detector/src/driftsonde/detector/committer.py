"""Commits of drops, several in one transaction where there is one writer anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from driftsonde.core.config import Monitor
from driftsonde.core.drops import Drop
from driftsonde.core.events import Fact
from driftsonde.core.store.engine import Database
from driftsonde.detector.ledger import Committed, Ledger
from driftsonde.detector.measure import Measured
from driftsonde.detector.windows import WrongBaseline

_MOST = 50  # drops of one transaction


class Commit(NamedTuple):
    """What is to be stored of one drop, as `Ledger.commit` takes it."""

    monitor: Monitor
    drop: Drop
    measured: Measured
    outcome: str = "counted"
    facts: Sequence[Fact] = ()


@dataclass(slots=True, eq=False)
class _Waiting:
    commit: Commit
    committed: Committed | None = None
    alone: bool = False


class Committer:
    """Commits drops.

    SQLite has one writer, who waits for the disk at each commit: what arrives meanwhile is written together, by whoever's turn is
    next. In PostgreSQL drops commit side by side, each in a transaction of its own, so that none waits for the locks of another's.
    """

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database, self._ledger = database, ledger
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()

    async def commit(self, commit: Commit) -> Committed:
        """Store a drop; returns when it is durable.

        Raises:
            WrongBaseline: when a window belongs to another version than the drop was counted over.
            RetryableError: when the database stays away.
        """
        if not self._database.is_sqlite:
            return await self._database.run(self._ledger.commit, *commit)
        mine = _Waiting(commit)
        self._waiting.append(mine)
        async with self._turn:
            if mine.committed is None:
                await self._write(mine)
            assert mine.committed is not None  # `_write` raises otherwise
            return mine.committed

    async def _write(self, mine: _Waiting) -> None:
        """Commit a drop and those that wait; if that fails for one of them, each is committed alone."""
        others = [] if mine.alone else [other for other in self._waiting if other is not mine and not other.alone][: _MOST - 1]
        batch = [mine, *others]
        try:
            results = await self._database.run(self._together, [waiting.commit for waiting in batch])
            for waiting, committed in zip(batch, results, strict=True):
                waiting.committed = committed
        except WrongBaseline:
            if not others:
                raise
        finally:
            for waiting in batch:
                waiting.alone = True
            self._waiting = [waiting for waiting in self._waiting if waiting is not mine and waiting.committed is None]
        if mine.committed is None:
            (mine.committed,) = await self._database.run(self._together, [mine.commit])

    def _together(self, connection: Connection, commits: Sequence[Commit]) -> list[Committed]:
        return [self._ledger.commit(connection, *commit) for commit in commits]
