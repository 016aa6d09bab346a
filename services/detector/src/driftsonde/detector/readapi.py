"""The read API: monitors, their windows, the timeline, and the sketches from which a verdict can be computed again."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, case, func, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from driftsonde.core.config import Config, Monitor
from driftsonde.core.store.engine import Database
from driftsonde.detector import store, stored
from driftsonde.detector.learning import progress

_PAGE = 500


def routes(database: Database, config: Config) -> list[Route]:
    """Return /api/monitors, what is below /api/monitors/{name}, and /api/timeline."""

    async def monitors(_request: Request) -> Response:
        return JSONResponse(await database.look(_monitors, config.monitors))

    async def windows(request: Request) -> Response:
        name = request.path_params["name"]
        if config.monitor(name) is None:
            return JSONResponse({"error": f"there is no monitor {name!r}"}, 404)
        return JSONResponse(await database.look(describe_windows, name))

    async def timeline(request: Request) -> Response:
        try:
            after = int(request.query_params.get("after", "0"))
        except ValueError:
            return JSONResponse({"error": "after: expected a number"}, 400)
        return JSONResponse(await database.look(_timeline, after, request.query_params.get("monitor")))

    return [
        Route("/api/monitors", monitors),
        Route("/api/monitors/{name}/windows", windows),
        *stored.routes(database),
        Route("/api/timeline", timeline),
    ]


def _monitors(connection: Connection, monitors: Sequence[Monitor]) -> list[dict[str, Any]]:
    return [describe_monitor(connection, monitor) for monitor in monitors]


def describe_monitor(connection: Connection, monitor: Monitor) -> dict[str, Any]:
    """Return what is said of a monitor."""
    return _monitor(connection, monitor.name) | {"policy": monitor.policy.model_dump(mode="json")}


def _monitor(connection: Connection, name: str) -> dict[str, Any]:
    base, drops = store.baseline, store.object_
    newest = connection.execute(
        select(base).where(base.c.monitor == name, base.c.state == "adopted").order_by(base.c.version.desc())
    ).first()
    wanted = connection.execute(select(base).where(base.c.monitor == name, base.c.state == "building").order_by(base.c.version)).first()
    outcomes = connection.execute(select(drops.c.outcome, func.count()).where(drops.c.monitor == name).group_by(drops.c.outcome)).all()
    episodes = connection.execute(select(store.episode).where(store.episode.c.monitor == name).order_by(store.episode.c.number)).all()
    windows = store.window
    judged = select(windows.c.id, windows.c.verdict, windows.c.judged_at).where(
        windows.c.monitor == name, windows.c.baseline.is_not(None), windows.c.verdict.is_not(None)
    )
    latest = connection.execute(judged.order_by(windows.c.baseline.desc(), windows.c.position.desc()).limit(1)).first()
    return {
        "name": name,
        "baseline": None if newest is None else {
            "version": newest.version, "digest": newest.digest, "rows": newest.rows, "model": newest.model,
        },
        "building": None if wanted is None else {
            "version": wanted.version, "error": wanted.error, "learning": progress(connection, name, json.loads(wanted.source)),
        },
        "drops": {row[0]: row[1] for row in outcomes},
        "latest": None if latest is None else {
            "window": latest.id, "verdict": latest.verdict, "judged_at": latest.judged_at and latest.judged_at.isoformat(),
        },
        "dirty": connection.scalar(select(func.count()).select_from(store.dirty).where(store.dirty.c.monitor == name)),
        "episodes": [
            {
                "number": row.number, "kind": row.kind, "open": row.is_open, "opened": row.opened, "cause": row.cause,
                "summary": row.summary, "opened_at": row.opened_at.isoformat(),
            }
            for row in episodes
        ],
    }  # fmt: skip


def describe_windows(connection: Connection, name: str, *, detailed: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return what is said of a monitor's windows, in order.

    Args:
        detailed: those whose columns are told of; default: all. They are most of what there is to read.
    """
    table = store.window
    detail = table.c.detail if detailed is None else case((table.c.id.in_(detailed), table.c.detail)).label("detail")
    columns = [column for column in table.c if column.name not in ("detail", "digest")]
    # A window without a version is one whose drops were all taken away.
    mine = (table.c.monitor == name, table.c.baseline.is_not(None))
    rows = connection.execute(select(*columns, detail).where(*mine).order_by(table.c.baseline, table.c.position)).all()
    return [
        {
            "id": row.id, "baseline": row.baseline, "verdict": row.verdict, "revision": row.revision, "rows": row.rows,
            "start": row.start and row.start.isoformat(), "end": row.end and row.end.isoformat(),
            "first_drop": row.first_drop and row.first_drop.isoformat(), "judged_at": row.judged_at and row.judged_at.isoformat(),
            **(json.loads(row.detail) if row.detail else {}),
        }
        for row in rows
    ]  # fmt: skip


def _timeline(connection: Connection, after: int, monitor: str | None) -> list[dict[str, Any]]:
    table = store.timeline
    statement = select(table).where(table.c.id > after).order_by(table.c.id).limit(_PAGE)
    if monitor is not None:
        statement = statement.where(table.c.monitor == monitor)
    return [{"seq": row.id, **json.loads(row.body)} for row in connection.execute(statement)]
