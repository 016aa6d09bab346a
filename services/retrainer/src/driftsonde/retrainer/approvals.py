"""Yes or no to a training: over the API with the token, or by a signed link that expires with the question."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import Final, Literal
from urllib.parse import urlencode

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from driftsonde.core.guard import error, guarded
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import store

log = get_logger(__name__)

Said = Literal["approved", "rejected", "expired", "unknown"]
_WORDS: Final = {"approve": "approved", "reject": "rejected"}
_BY_CHARS: Final = 100


class Links:
    """Makes and checks the links that messages carry.

    Args:
        url: where people reach the retrainer; empty: there are no links.
        secret: what links are signed with; empty: there are no links.
    """

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url.rstrip("/"), secret.encode()

    def make(self, monitor: str, episode: int, until: datetime) -> str | None:
        """Return a link to the question whether to train."""
        if not self._url or not self._secret:
            return None
        expires = str(int(until.timestamp()))
        return f"{self._url}/approve/{monitor}/{episode}?" + urlencode({"until": expires, "by": self._sign(monitor, episode, expires)})

    def is_ours(self, monitor: str, episode: int, until: str, signature: str, now: datetime) -> bool:
        """Tell whether a link was made by us and has not expired."""
        if not self._secret or not until.isascii() or not until.isdigit() or len(until) > 12:
            return False
        right = hmac.compare_digest(self._sign(monitor, episode, until).encode(), signature.encode())
        return right and now < datetime.fromtimestamp(int(until), UTC)

    def _sign(self, monitor: str, episode: int, until: str) -> str:
        return hmac.new(self._secret, f"driftsonde/approval/{monitor}/{episode}/{until}".encode(), hashlib.sha256).hexdigest()


class Approvals:
    """Takes answers to questions that were asked."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def answer(self, monitor: str, episode: int, word: str, by: str) -> Said:
        """Note an answer; the first one holds, and is returned."""
        return await self._database.run(self._note, monitor, episode, word, by[:_BY_CHARS])

    def _note(self, connection: Connection, monitor: str, episode: int, word: str, by: str) -> Said:
        table = store.approval
        here = (table.c.monitor == monitor, table.c.episode == episode)
        now = self._clock.now()
        still = table.update().where(*here, table.c.state == "asked", table.c.until > now)
        connection.execute(still.values(state=_WORDS[word], by=by, at=now))
        found: Said | Literal["asked"] | None = connection.scalar(select(table.c.state).where(*here))
        if found is None:
            return "unknown"
        return "expired" if found == "asked" else found


def routes(approvals: Approvals, links: Links, clock: Clock, token: str, changed: Callable[[], None]) -> list[Route]:
    """Return POST /api/plans/{monitor}/{episode}/approve and /reject, and the page that links lead to.

    Args:
        token: what API requests must bear; see `core.guard`.
        changed: called when there is an answer.
    """

    async def answer(request: Request) -> Response:
        monitor, episode, word = (request.path_params[key] for key in ("monitor", "episode", "word"))
        if word not in _WORDS:
            return error(404, "expected approve or reject")
        said = await approvals.answer(monitor, episode, word, request.headers.get("X-Driftsonde-By", "api"))
        changed()
        log.info("approval answered", monitor=monitor, episode=episode, said=said)
        return JSONResponse({"monitor": monitor, "episode": episode, "said": said}, _STATUS.get(said, 200))

    async def page(request: Request) -> Response:
        monitor, episode = request.path_params["monitor"], request.path_params["episode"]
        until, signature = request.query_params.get("until", ""), request.query_params.get("by", "")
        if not links.is_ours(monitor, episode, until, signature, clock.now()):
            return _page("This link is not valid", "<p>It has expired, or it was changed on its way.</p>", 403)
        if request.method == "GET":  # looked at by people, and by what makes previews of links
            return _page(f"Train a new model for {monitor}?", f"<p>Episode {episode}.</p>{_BUTTONS}", 200)
        word = (await request.body())[:100].decode("latin-1").removeprefix("word=")
        if word not in _WORDS:
            return _page("Nothing was said", _BUTTONS, 400)
        said = await approvals.answer(monitor, episode, word, "link")
        changed()
        log.info("approval answered", monitor=monitor, episode=episode, said=said)
        return _page(_TOLD[said], f"<p>{escape(monitor)}, episode {episode}.</p>", _STATUS.get(said, 200))

    return [
        Route("/api/plans/{monitor}/{episode:int}/{word}", guarded(answer, token, changes=True), methods=["POST"]),
        Route("/approve/{monitor}/{episode:int}", page, methods=["GET", "POST"]),
    ]


_STATUS: Final = {"unknown": 404, "expired": 409}
_TOLD: Final[dict[Said, str]] = {
    "approved": "Yes: a new model will be trained",
    "rejected": "No: nothing is trained",
    "expired": "Too late: the question has expired",
    "unknown": "There is no such question",
}
_BUTTONS: Final = (
    '<form method="post"><button name="word" value="approve">Train</button> <button name="word" value="reject">Do not train</button></form>'
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_STYLE: Final = "body{font:1rem system-ui;max-width:30rem;margin:4rem auto;padding:0 1rem}button{font:inherit;padding:.5rem 1rem}"


def _page(title: str, body: str, status: int) -> Response:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
    html = f'<!doctype html><html lang="en"><head>{head}<title>{escape(title)}</title><style>{_STYLE}</style></head>'
    return HTMLResponse(f"{html}<body><h1>{escape(title)}</h1>{body}</body></html>", status, _HEADERS)
