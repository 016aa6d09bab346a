"""Silences over HTTP: /api/silences. Who may change them has the token, or sits at this machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from driftsonde.core.config import Config, Duration, Section, explain
from driftsonde.core.guard import error, guarded
from driftsonde.core.log import get_logger
from driftsonde.core.names import Name
from driftsonde.core.store.engine import Database
from driftsonde.notifier.silences import LONGEST, REASON_CHARS, Silence, Silences

log = get_logger(__name__)

_MAX_BODY: Final = 10_000
_JSON: Final = "application/json"


class Wanted(Section):
    """The body of a POST."""

    monitor: Name
    channel: Name | None = None
    length: Duration = Field(alias="for", gt=timedelta(0), le=LONGEST)
    reason: str = Field("", max_length=REASON_CHARS)


def routes(silences: Silences, database: Database, config: Config, token: str) -> list[Route]:
    """Return /api/silences and /api/silences/{number}.

    Args:
        token: what requests must bear; empty: whoever asks may look, and change what he likes if he is at this machine.
    """

    async def list_(_request: Request) -> Response:
        return JSONResponse([_shown(one) for one in await database.look(silences.active)])

    async def begin(request: Request) -> Response:
        wanted = await _wanted(request)
        if isinstance(wanted, Response):
            return wanted
        if config.monitor(wanted.monitor) is None:
            return error(404, f"there is no monitor {wanted.monitor!r}; there are {', '.join(one.name for one in config.monitors)}")
        if wanted.channel is not None and wanted.channel not in config.channels:
            return error(404, f"there is no channel {wanted.channel!r}; there are {', '.join(config.channels)}")
        one = await database.run(silences.begin, wanted.monitor, wanted.channel, wanted.length, wanted.reason)
        log.info("silence begun", id=one.id, monitor=one.monitor, channel=one.channel, until=one.until.isoformat())
        return JSONResponse(_shown(one), 201)

    async def end(request: Request) -> Response:
        number = request.path_params["number"]
        if not await database.run(silences.end, number):
            return error(404, f"there is no silence {number}, or it is over")
        log.info("silence ended", id=number)
        return Response(status_code=204)

    return [
        Route("/api/silences", guarded(list_, token, changes=False), methods=["GET"]),
        Route("/api/silences", guarded(begin, token, changes=True), methods=["POST"]),
        Route("/api/silences/{number:int}", guarded(end, token, changes=True), methods=["DELETE"]),
    ]


async def _wanted(request: Request) -> Wanted | Response:
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != _JSON:
        return error(415, f"expected {_JSON}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            return error(413, f"expected at most {_MAX_BODY:,} bytes")
    try:
        return Wanted.model_validate_json(body)
    except ValidationError as exc:
        return error(400, explain(exc))


def _shown(one: Silence) -> dict[str, Any]:
    times = {"created_at": one.created_at.isoformat(), "until": one.until.isoformat()}
    return {"id": one.id, "monitor": one.monitor, "channel": one.channel, "reason": one.reason, **times}
