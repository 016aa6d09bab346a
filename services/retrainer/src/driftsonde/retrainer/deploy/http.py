"""`POST /api/monitors/{name}/rollback`: ask for the former model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from driftsonde.core.config import Config
from driftsonde.core.guard import error, guarded
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.retrainer.deploy.rollback import Impossible, request

log = get_logger(__name__)

_MAX_BODY: Final = 10_000
_MAX_REASON: Final = 500


def routes(database: Database, config: Config, clock: Clock, token: str, changed: Callable[[], None]) -> list[Route]:
    """Return the route.

    Args:
        token: what requests must bear; empty: they must come from this machine.
        changed: called when there is something to do.
    """

    async def rollback(asked: Request) -> Response:
        name = asked.path_params["name"]
        if config.monitor(name) is None:
            return error(404, f"there is no monitor {name!r}; there are {', '.join(one.name for one in config.monitors)}")
        reason = await _reason(asked)
        if reason is None:
            return error(400, f'expected a JSON object such as {{"reason": "..."}} of at most {_MAX_REASON} characters')
        try:
            accepted = await database.run(request, database, clock, name, reason)
        except Impossible as exc:
            return error(409, str(exc))
        changed()
        log.warning("rollback asked for", monitor=name, model=accepted.model, reason=reason)
        return JSONResponse({"monitor": name, **asdict(accepted)}, 202)

    return [Route("/api/monitors/{name}/rollback", guarded(rollback, token, changes=True), methods=["POST"])]


async def _reason(asked: Request) -> str | None:
    """Return the reason that is given; None if the body is not what it should be."""
    body = b""
    async for chunk in asked.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            return None
    try:
        wanted = json.loads(body or b"{}")
    except ValueError:
        return None
    if not isinstance(wanted, dict) or not wanted.keys() <= {"reason"}:
        return None
    reason = wanted.get("reason", "rolled back by hand")
    return reason if isinstance(reason, str) and 0 < len(reason) <= _MAX_REASON else None
