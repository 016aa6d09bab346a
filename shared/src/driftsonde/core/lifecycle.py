"""How a service lives: start, serve health and metrics, stop on SIGTERM within its grace, exit with a code that tells."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from driftsonde.core.errors import ConfigError
from driftsonde.core.log import get_logger
from driftsonde.core.settings import BAD_CONFIG

log = get_logger(__name__)

_TICK_SECONDS = 0.02
_STALL_SECONDS = 5.0


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.now(UTC)


class Health:
    """What /livez and /readyz answer. A loop that has not beaten for `stale_after` seconds is dead."""

    def __init__(self, stale_after: float = 90.0) -> None:
        self._beats: dict[str, float] = {}
        self._stale_after = stale_after
        self._ready = False
        self._not_ready: dict[str, str] = {}

    def beat(self, loop: str) -> None:
        """Say that a loop went round."""
        self._beats[loop] = time.monotonic()

    def started(self) -> None:
        """Say that everything is wired."""
        self._ready = True

    def stopping(self) -> None:
        """Say that no new work is wanted."""
        self._ready = False

    def report(self, part: str, problem: str | None) -> None:
        """Note that a part we depend on is unreachable (or, with None, well again); readiness follows."""
        if problem is None:
            self._not_ready.pop(part, None)
        else:
            self._not_ready[part] = problem

    def dead(self) -> list[str]:
        """Return the loops that stopped going round."""
        now = time.monotonic()
        return sorted(name for name, at in self._beats.items() if now - at > self._stale_after)

    def troubled(self) -> list[str]:
        """Return the parts that are unreachable."""
        return sorted(self._not_ready)

    def problems(self) -> list[str]:
        """Return why the service is not ready; empty when it is."""
        return ([] if self._ready else ["starting or stopping"]) + [f"{part}: {why}" for part, why in self._not_ready.items()]


def health_routes(health: Health, registry: CollectorRegistry) -> list[Route]:
    """Return /metrics, /livez and /readyz."""

    async def livez(_request: Request) -> Response:
        dead = health.dead()
        return PlainTextResponse(f"stopped: {', '.join(dead)}\n" if dead else "ok\n", 500 if dead else 200)

    async def readyz(_request: Request) -> Response:
        problems = health.problems()
        return PlainTextResponse("\n".join(problems) + "\n" if problems else "ok\n", 503 if problems else 200)

    async def metrics(request: Request) -> Response:
        # OpenMetrics for those who ask for it, as Prometheus does where exemplars are on: the older text has no place for them.
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # In a thread: rendering many series takes CPU time that the event loop must not lose.
        return Response(await asyncio.to_thread(encode, registry), headers={"content-type": content_type})

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


@contextlib.asynccontextmanager
async def serve_http(routes: Sequence[Route], host: str, port: int) -> AsyncIterator[int]:
    """Serve routes while the block runs; yields the port that was bound (for port 0).

    Raises:
        ConfigError: if the port is taken.
    """
    config = uvicorn.Config(Starlette(routes=list(routes)), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    try:
        sock = socket.create_server((host, port), reuse_port=False)
    except OSError as exc:
        raise ConfigError(f"port: cannot listen on {host}:{port}: {exc.strerror}; choose another with DRIFTSONDE_PORT") from exc
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # SIGTERM is ours (run_service)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        sock.close()


async def every(seconds: float, act: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    """Call `act` now and then at each interval until `stop` is set."""
    while not stop.is_set():
        await act()
        await wait_or_stop(stop, seconds)


async def watch_stalls(stop: asyncio.Event, report: Callable[[float], None]) -> None:
    """Report, every few seconds, for how long the event loop did not come round at most, until `stop` is set."""
    longest, reported = 0.0, time.monotonic()
    while not stop.is_set():
        before = time.monotonic()
        await asyncio.sleep(_TICK_SECONDS)
        now = time.monotonic()
        longest = max(longest, now - before - _TICK_SECONDS)
        if now - reported >= _STALL_SECONDS:
            report(longest)
            longest, reported = 0.0, now


async def wait_or_stop(stop: asyncio.Event, seconds: float, *others: asyncio.Event) -> None:
    """Sleep, but no longer than until `stop` or one of `others` is set."""
    waiters = [asyncio.create_task(event.wait()) for event in (stop, *others)]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


async def enter_or_stop(
    stack: contextlib.AsyncExitStack, context: contextlib.AbstractAsyncContextManager[object], stop: asyncio.Event
) -> bool:
    """Enter a context that may take for ever (a bus that is away); False when `stop` was set first, and it was not entered."""
    entering = asyncio.create_task(stack.enter_async_context(context))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({entering, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not entering.done():
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)
    if entering.cancelled():
        return False
    await entering
    return True


Main = Callable[[asyncio.Event], Awaitable[None]]
"""A service: runs until the event is set, then drains and returns."""


def run_service(service: str, main: Main, *, grace: float) -> int:
    """Run a service until SIGTERM or SIGINT and return its exit code.

    0 after a clean stop, 1 when it failed or did not drain within `grace` seconds, 78 when the configuration is wrong.
    """
    try:
        return asyncio.run(_run(main, grace))
    except ConfigError as exc:
        print(f"driftsonde {service}: {exc}", file=sys.stderr)
        return BAD_CONFIG


async def _run(main: Main, grace: float) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are on our way out already
            loop.call_soon_threadsafe(stop.set)

    # Not `loop.add_signal_handler`: it restores the default when the loop closes, and a second SIGTERM would then kill us.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, on_signal)
    task = asyncio.ensure_future(main(stop))
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if not task.done():
        log.info("stopping", grace=grace)
        await asyncio.wait({task}, timeout=grace)
    if not task.done():
        log.error("did not drain in time", grace=grace)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return 1
    error = task.exception()
    if error is None:
        return 0
    if isinstance(error, BaseExceptionGroup):
        config_errors, _ = error.split(ConfigError)
        error = config_errors.exceptions[0] if config_errors else error
    if isinstance(error, ConfigError):
        raise error
    log.error("service failed", exc_info=error)
    return 1
