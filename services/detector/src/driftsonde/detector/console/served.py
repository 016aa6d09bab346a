"""The console over HTTP: each page is read and written in a worker thread, few at a time, so that drops never wait for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from driftsonde.core.aws.watch import QueueWatch
from driftsonde.core.config import Config
from driftsonde.core.errors import DriftsondeError, RetryableError
from driftsonde.core.ports import Clock
from driftsonde.core.report.gather import Material
from driftsonde.core.store.engine import Database
from driftsonde.core.text import clean
from driftsonde.detector.console.asked import ask_fleet, ask_history
from driftsonde.detector.console.html import headers, written
from driftsonde.detector.console.pages import fleet_of, monitor_of
from driftsonde.detector.console.source import Missing, material_of_episode, material_of_window

RETRY_AFTER: Final = "2"
_PAGES_WAIT = 16
_LARGEST_NUMBER = 9  # digits


class Busy(Exception):
    """As many wait as may."""


class Turns:
    """One at a time.

    Args:
        waiting: how many may wait; who comes then is told to come again.
    """

    def __init__(self, waiting: int) -> None:
        self._lock, self._here, self._most = asyncio.Lock(), 0, waiting + 1

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for one's turn.

        Raises:
            Busy: if too many wait.
        """
        if self._here >= self._most:
            raise Busy
        self._here += 1
        try:
            async with self._lock:
                yield
        finally:
            self._here -= 1


class Console:
    """Answers requests for pages."""

    def __init__(self, database: Database, config: Config, clock: Clock, queues: QueueWatch) -> None:
        self._database, self._config, self._clock, self._queues = database, config, clock, queues
        self._names = [monitor.name for monitor in config.monitors]
        self._headers = headers()
        self._pages, self._reports = Turns(_PAGES_WAIT), Turns(0)

    def routes(self) -> list[Route]:
        """Return /, /monitors/{name} and what is below /reports."""
        return [
            Route("/", self._answering(self._fleet)),
            Route("/monitors/{name}", self._answering(self._monitor)),
            Route("/reports/{name}/windows", self._answering(self._window_report)),
            Route("/reports/{name}/{number:int}", self._answering(self._episode_report)),
        ]

    def _answering(self, page: Callable[[Request], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                return HTMLResponse(await page(request), headers=self._headers)
            except Busy:
                return self._apology(503, "Another page is being made. Try again in a moment.")
            except RetryableError:
                return self._apology(503, "The database does not answer. Try again in a moment.")
            except DriftsondeError as exc:
                return self._apology(404, clean(str(exc), 600))

        return endpoint

    def _apology(self, status: int, text: str) -> Response:
        again = {"Retry-After": RETRY_AFTER} if status == 503 else {}
        return HTMLResponse(written("apology", status=status, text=text), status, headers={**self._headers, **again})

    async def _fleet(self, request: Request) -> str:
        page = _page(request)

        def make(connection: Connection) -> str:
            now = self._clock.now()
            return written("fleet", page=fleet_of(ask_fleet(connection, self._names, page), self._queues.seen, now))

        async with self._pages.taken():
            return await self._database.look(make)

    async def _monitor(self, request: Request) -> str:
        name, page = self._known(request), _page(request)

        def make(connection: Connection) -> str:
            return written("monitor", page=monitor_of(ask_history(connection, name, page), self._clock.now()))

        async with self._pages.taken():
            return await self._database.look(make)

    async def _episode_report(self, request: Request) -> str:
        return await self._report(self._known(request), material_of_episode, request.path_params["number"])

    async def _window_report(self, request: Request) -> str:
        window = request.query_params.get("window")
        if window is None:
            raise Missing("say which window: ?window=ID")
        return await self._report(self._known(request), material_of_window, window)

    async def _report(self, name: str, gather: Callable[[Connection, Config, str, Any], Material], what: Any) -> str:
        async with self._reports.taken():
            material = await self._database.look(gather, self._config, name, what)
            return await asyncio.to_thread(self._write, material, f"/monitors/{name}")

    def _write(self, material: Material, home: str) -> str:
        # Here: it needs what is not needed to be ready.
        from driftsonde.core.report.compose import compose
        from driftsonde.core.report.page import render

        return render(compose(material), made=self._clock.now(), home=home)

    def _known(self, request: Request) -> str:
        name = str(request.path_params["name"])
        if self._config.monitor(name) is None:
            raise Missing(f"there is no monitor {name!r}")
        return name


def _page(request: Request) -> int:
    text = request.query_params.get("page", "1")
    if not (text.isascii() and text.isdigit() and 0 < int(text[: _LARGEST_NUMBER + 1]) < 10**_LARGEST_NUMBER):
        raise Missing(f"there is no page {text!r}")
    return int(text)
