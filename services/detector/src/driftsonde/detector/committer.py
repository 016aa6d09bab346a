"""What drops have to write, several in one transaction where there is one writer anyway."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Connection

from driftsonde.core.store.engine import Database
from driftsonde.detector.windows import WrongBaseline

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 50  # drops of one transaction


@dataclass(slots=True, eq=False)
class _Waiting:
    work: Callable[[Connection], Any]
    done: bool = False
    result: Any = None
    alone: bool = False


class Committer:
    """Runs what drops have to write.

    SQLite has one writer, who waits for the disk at each commit: what arrives meanwhile is written together, by whoever's turn is
    next. In PostgreSQL drops commit side by side, each in a transaction of its own, so that none waits for the locks of another's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(connection, ...)` in a write transaction, perhaps beside others; returns when it is durable.

        Raises:
            WrongBaseline: as `work`.
            RetryableError: when the database stays away.
        """
        if not self._database.is_sqlite:
            return await self._database.run(work, *args, **kwargs)
        # In the context of its own drop, whoever's turn it is: what is written names its trace.
        context = contextvars.copy_context()
        mine = _Waiting(lambda connection: context.run(work, connection, *args, **kwargs))
        self._waiting.append(mine)
        async with self._turn:
            if not mine.done:
                await self._write(mine)
            return cast("T", mine.result)

    async def _write(self, mine: _Waiting) -> None:
        """Run what a drop has to write and what waits; if that fails for one of them, each runs alone."""
        others = [] if mine.alone else [other for other in self._waiting if other is not mine and not other.alone][: _MOST - 1]
        batch = [mine, *others]
        try:
            results = await self._database.run(_together, batch)
            for waiting, result in zip(batch, results, strict=True):
                waiting.result, waiting.done = result, True
        except WrongBaseline:
            if not others:
                raise
        finally:
            for waiting in batch:
                waiting.alone = True
            self._waiting = [waiting for waiting in self._waiting if waiting is not mine and not waiting.done]
        if not mine.done:
            (mine.result,) = await self._database.run(_together, [mine])


def _together(connection: Connection, batch: Sequence[_Waiting]) -> list[Any]:
    return [waiting.work(connection) for waiting in batch]
