"""Silences over HTTP: who may change them, and what is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from driftsonde.notifier.api import routes

from .support import Rig, detected

TOKEN = "t0ken-SECRET"
WANTED = {"monitor": "churn", "for": "4h", "reason": "a known shift"}
HERE, ELSEWHERE = ("127.0.0.1", 50_000), ("203.0.113.9", 50_000)


@contextlib.asynccontextmanager
async def asking(
    rig: Rig, token: str = "", client: tuple[str, int] = HERE, base: str = "http://127.0.0.1:8082"
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the API that comes from an address."""
    app = Starlette(routes=routes(rig.silences, rig.database, rig.config, token))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=client), base_url=base) as asks:
        yield asks


async def test_silence_is_begun_listed_and_ended(rig: Rig) -> None:
    async with asking(rig) as client:
        begun = await client.post("/api/silences", json=WANTED)
        assert begun.status_code == 201
        assert begun.json() | {"created_at": ""} == {
            "id": 1, "monitor": "churn", "channel": None, "reason": "a known shift", "created_at": "", "until": "2026-01-01T16:00:00+00:00",
        }  # fmt: skip
        assert (await client.get("/api/silences")).json() == [begun.json()]
        assert (await client.delete("/api/silences/1")).status_code == 204
        assert (await client.get("/api/silences")).json() == []
        assert (await client.delete("/api/silences/1")).status_code == 404


async def test_begun_silence_keeps_messages_back(rig: Rig) -> None:
    async with asking(rig) as client:
        await client.post("/api/silences", json=WANTED | {"channel": "ops"})
    await rig.tell(detected())
    assert rig.log() == [("silenced", "")]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (WANTED | {"monitor": "gone"}, 404, "there is no monitor 'gone'; there are churn, fraud"),
        (WANTED | {"channel": "gone"}, 404, "there is no channel 'gone'; there are ops"),
        (WANTED | {"for": "soon"}, 400, "for: "), (WANTED | {"for": "0s"}, 400, "for: "), (WANTED | {"for": "91d"}, 400, "for: "),
        ({"monitor": "churn"}, 400, "for: Field required"), (WANTED | {"until": "x"}, 400, "until: "), (WANTED | {"reason": "x" * 201}, 400, "reason: "),
        ([], 400, "(top level)"),
    ],
)  # fmt: skip
async def test_wrong_request_is_told_what_is_wrong(rig: Rig, body: Any, status: int, said: str) -> None:
    async with asking(rig) as client:
        answer = await client.post("/api/silences", json=body)
        assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
        assert (await client.get("/api/silences")).json() == []


async def test_body_of_any_size_or_kind_is_refused_early(rig: Rig) -> None:
    async with asking(rig) as client:
        assert (await client.post("/api/silences", content=b"{" * 20_000, headers={"Content-Type": "application/json"})).status_code == 413
        assert (await client.post("/api/silences", content=b"\xff", headers={"Content-Type": "application/json"})).status_code == 400
        assert (await client.post("/api/silences", content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415


@pytest.mark.parametrize("given", [None, "", "Bearer", f"Basic {TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x"])
async def test_with_a_token_nothing_is_answered_without_it(rig: Rig, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    async with asking(rig, TOKEN) as client:
        for method, path in (("GET", "/api/silences"), ("POST", "/api/silences"), ("DELETE", "/api/silences/1")):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert "SECRET" not in answer.text


async def test_bearer_of_the_token_may_come_from_anywhere(rig: Rig) -> None:
    async with asking(rig, TOKEN, ELSEWHERE, "https://drift.acme.example") as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert (await client.post("/api/silences", json=WANTED)).status_code == 201
        assert len((await client.get("/api/silences")).json()) == 1
        assert (await client.delete("/api/silences/1")).status_code == 204


async def test_without_a_token_others_may_look_and_not_change(rig: Rig) -> None:
    async with asking(rig, client=ELSEWHERE) as client:
        assert (await client.get("/api/silences")).status_code == 200
        assert (await client.post("/api/silences", json=WANTED)).status_code == 403
        assert (await client.delete("/api/silences/1")).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"}, {"Host": "rebound.evil.example:8082"}, {"Host": ""}, {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
    ],
)  # fmt: skip
async def test_web_page_or_proxy_on_this_machine_may_not_change(rig: Rig, headers: dict[str, str]) -> None:
    async with asking(rig) as client:
        assert (await client.post("/api/silences", json=WANTED, headers=headers)).status_code == 403
        assert (await client.get("/api/silences")).json() == []


@pytest.mark.parametrize(("client", "base"), [(("::1", 1), "http://[::1]:8082"), (HERE, "http://localhost:8082")])
async def test_every_name_of_this_machine_may_change(rig: Rig, client: tuple[str, int], base: str) -> None:
    async with asking(rig, client=client, base=base) as asks:
        assert (await asks.post("/api/silences", json=WANTED)).status_code == 201


async def test_database_that_is_away_is_said(rig: Rig) -> None:
    async with asking(rig) as client:
        with rig.database.write() as connection:
            connection.exec_driver_sql("alter table silence rename to elsewhere")
        answer = await client.get("/api/silences")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
