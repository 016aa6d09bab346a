"""What is stored of windows and baselines, as it was measured: from it every verdict can be computed again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from driftsonde.core.sketch.codec import decode_table, encode_table
from driftsonde.core.sketch.table import Layout, merge
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.baselines import load

_MAX_WINDOWS = 1_000
_AT_ONCE = 25
_ENOUGH_BYTES = 8_000_000  # a page has a few windows more than fit, never a thousand large ones


def routes(database: Database) -> list[Route]:
    """Return /api/monitors/{name}/sketches and /api/monitors/{name}/baselines/{version}."""

    async def sketches(request: Request) -> Response:
        name, asked = request.path_params["name"], request.query_params
        counts = [asked.get("lookback", "1"), asked.get("limit", "100")]
        if not all(text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MAX_WINDOWS for text in counts):
            return JSONResponse({"error": f"lookback, limit: expected a number from 1 to {_MAX_WINDOWS}"}, 400)
        if ("window" in asked) == ("from" in asked):
            return JSONResponse({"error": "expected either window=ID (it and its look-back) or from=ID (it and those after it)"}, 400)
        lookback, limit = map(int, counts)
        if "window" in asked:
            found = await database.look(lookback_of, name, asked["window"], lookback)
        else:
            found = await database.look(windows_from, name, asked["from"], limit)
        return JSONResponse({"error": "there is no such window"}, 404) if found is None else JSONResponse(found)

    async def baseline(request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params["version"]
        data = await database.look(baseline_bytes, name, version)
        if data is None:
            return JSONResponse({"error": f"monitor {name!r} has no baseline {version}"}, 404)
        return Response(data, media_type="application/octet-stream")

    return [Route("/api/monitors/{name}/sketches", sketches), Route("/api/monitors/{name}/baselines/{version:int}", baseline)]


def baseline_bytes(connection: Connection, monitor: str, version: int) -> bytes | None:
    """Return a frozen baseline as `Baseline.from_bytes` reads it."""
    table = store.baseline
    data: bytes | None = connection.scalar(select(table.c.data).where(table.c.monitor == monitor, table.c.version == version))
    return data


def lookback_of(connection: Connection, monitor: str, window_id: str, lookback: int) -> dict[str, Any] | None:
    """Return a window with those that it was judged with, oldest first; None if it is not there.

    Args:
        lookback: how many windows at most, itself included.
    """
    row = store.window_row(connection, monitor, window_id)
    if row is None or row.baseline is None:
        return None
    table = store.window
    before = (
        table.c.monitor == monitor, table.c.baseline == row.baseline, table.c.position < row.position,
        table.c.verdict.is_not(None), table.c.verdict != "untrusted",
    )  # fmt: skip
    rows = connection.execute(select(table).where(*before).order_by(table.c.position.desc()).limit(lookback - 1)).all()
    windows = _with_sketches(connection, monitor, [*reversed(rows), row])
    return {"baseline": row.baseline, "windows": windows, "next": None}


def windows_from(connection: Connection, monitor: str, window_id: str, limit: int) -> dict[str, Any] | None:
    """Return a window and those of the same baseline after it, oldest first, and the name of the one that the next page begins with."""
    first = store.window_row(connection, monitor, window_id)
    if first is None or first.baseline is None:
        return None
    table, found, size = store.window, list[dict[str, Any]](), 0
    mine = (table.c.monitor == monitor, table.c.baseline == first.baseline, table.c.position >= first.position)
    rows = connection.execute(select(table).where(*mine).order_by(table.c.position).limit(limit + 1)).all()
    while len(found) < min(limit, len(rows)) and size < _ENOUGH_BYTES:
        page = _with_sketches(connection, monitor, rows[len(found) : min(len(found) + _AT_ONCE, limit)])
        size += sum(len(window["sketch"] or "") for window in page)
        found += page
    return {"baseline": first.baseline, "windows": found, "next": rows[len(found)].id if len(found) < len(rows) else None}


def _with_sketches(connection: Connection, monitor: str, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    table = store.part
    wanted = (table.c.monitor == monitor, table.c.window.in_([row.id for row in rows]))
    parts: dict[str, list[bytes]] = {}
    for part in connection.execute(select(table.c.window, table.c.sketch).where(*wanted)):
        parts.setdefault(part.window, []).append(part.sketch)
    several = any(len(found) > 1 for found in parts.values())
    layout = load(connection, monitor, rows[0].baseline).layout if several else None
    return [
        {
            "id": row.id, "verdict": row.verdict, "rows": row.rows, "revision": row.revision,
            "sketch": b64encode(_added(parts[row.id], layout)).decode() if row.id in parts else None,
        }
        for row in rows
    ]  # fmt: skip


def _added(parts: Sequence[bytes], layout: Layout | None) -> bytes:
    """Return a window's sketch; of one drop as it is stored."""
    if len(parts) == 1 or layout is None:
        return parts[0]
    return encode_table(merge(layout, (decode_table(part, layout) for part in parts)))
