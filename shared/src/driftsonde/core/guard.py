"""Who may change something over HTTP: who bears the token, or, where none is set, a program on the same machine."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from driftsonde.core.errors import RetryableError

Act = Callable[[Request], Awaitable[Response]]


def guarded(act: Act, token: str, *, changes: bool) -> Act:
    """Let an endpoint act only for those who may.

    Args:
        token: what requests must bear; empty: whoever asks may look, and change what he likes if he is at this machine.
        changes: whether the endpoint changes anything.
    """

    async def act_if_allowed(request: Request) -> Response:
        if token and not _bears(request, token):
            message = "expected Authorization: Bearer with the token of DRIFTSONDE_API_TOKEN"
            return error(401, message, {"WWW-Authenticate": "Bearer"})
        if not token and changes and not _is_at_this_machine(request):
            return error(403, "without DRIFTSONDE_API_TOKEN this is done from the service's own machine only")
        try:
            return await act(request)
        except RetryableError as exc:
            return error(503, str(exc), {"Retry-After": str(max(1, round(exc.retry_after)))})

    return act_if_allowed


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error that says what would be right."""
    return JSONResponse({"error": message}, status, headers)


def _bears(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _is_at_this_machine(request: Request) -> bool:
    """Tell whether a program on this machine asks, and not a web page that somebody looks at here, whatever name it was given."""
    host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and (host == "localhost" or _is_loopback(host))
        and not {"origin", "x-forwarded-for", "forwarded"} & set(request.headers.keys())
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
