"""Who has the link of a question can answer it: it goes to the channels, and nowhere that needs no password."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from driftsonde.core.events import ApprovalRequested, Event
from driftsonde.detector.readapi import routes
from driftsonde.retrainer.approvals import Links
from unit.detector.support import Rig, config


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(f"sqlite:///{tmp_path}/detector.db", config())
    yield rig
    rig.close()


async def test_read_api_and_store_of_the_detector_do_not_know_the_link(rig: Rig) -> None:
    until = rig.clock.now() + timedelta(hours=1)
    link = Links("https://retrain.example", "s" * 32).make("churn", 1, until)
    asked = Event.of(ApprovalRequested(monitor="churn", episode=1, plan="churn-1", until=until, link=link), time=rig.clock.now())
    assert "retrain.example" in asked.to_json().decode()
    await rig.timeline.handle(asked)
    app = Starlette(routes=routes(rig.database, config()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://detector") as client:
        answer = await client.get("/api/timeline")
    (event,) = answer.json()
    assert event["id"] == asked.id
    assert "retrain.example" not in json.dumps([event, [dict(row) for row in rig.select("timeline")]], default=str)


@pytest.mark.parametrize(("monitor", "episode", "secret"), [("fraud", 1, "s" * 32), ("churn", 2, "s" * 32), ("churn", 1, "t" * 32)])
def test_link_of_one_question_opens_no_other(monitor: str, episode: int, secret: str) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    link = Links("https://retrain.example", "s" * 32).make("churn", 1, now + timedelta(hours=1)) or ""
    given = dict(parse_qsl(urlsplit(link).query))
    assert Links("", "s" * 32).is_ours("churn", 1, given["until"], given["by"], now)
    assert not Links("", secret).is_ours(monitor, episode, given["until"], given["by"], now)
