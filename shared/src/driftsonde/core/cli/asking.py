"""Asking a service to do something, as commands do it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from driftsonde.core.errors import DriftsondeError

_TIMEOUT_SECONDS = 30

Token = Annotated[
    str, typer.Option("--token", envvar="DRIFTSONDE_API_TOKEN", show_envvar=True, help="The service's token; better in the environment.")
]


def ask(service: str, url: str, token: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask a service.

    Raises:
        DriftsondeError: if it does not answer, or refuses; the message says why.
    """
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.request(method, url.rstrip("/") + path, json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as exc:
        where = f"--url or DRIFTSONDE_{service.upper()}_URL says where it is"
        raise DriftsondeError(f"the {service} does not answer at {url}: {type(exc).__name__}; {where}") from exc
    if answer.is_error:
        raise DriftsondeError(f"the {service} at {url} says {answer.status_code}: {_reason(answer)}")
    return answer.json() if answer.content else None


def _reason(answer: Any) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return str(answer.reason_phrase)
