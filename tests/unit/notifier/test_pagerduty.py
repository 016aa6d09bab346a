"""PagerDuty: an episode is an incident."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from driftsonde.core.events import DataUntrusted, TrainingFailed
from driftsonde.core.ports import Occasion
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels.http import HttpPoster, http_client
from driftsonde.notifier.channels.pagerduty import PagerDuty, request

from .support import TRUST, Reply, Rig, Server, detected, event, resolved

KEY = "R0UT1NGSECRETSECRETSECRETSECRET0"
TAKEN = Reply(202, '{"status":"success","message":"Event processed","dedup_key":"churn/7"}')


@pytest.fixture
async def duty(tmp_path: Path, server: Server) -> AsyncIterator[Rig]:
    """A notifier whose channel `ops` is the PagerDuty played by `server`."""
    async with http_client(TRUST) as client:
        clock = FakeClock()
        poster = HttpPoster(server.url("/v2/enqueue"), client, clock, key="channels.ops.api", allow_private=True)
        rig = Rig(tmp_path, {"ops": PagerDuty(poster, KEY)}, clock=clock)
        yield rig
        rig.close()


async def test_episode_opens_an_incident_and_its_end_closes_it(duty: Rig, server: Server) -> None:
    server.replies.extend([TAKEN, TAKEN])
    await duty.tell(detected(), resolved())
    await duty.deliver(within=timedelta(seconds=5))
    first, last = (one.json() for one in server.requests)
    assert (first["event_action"], first["dedup_key"], first["routing_key"]) == ("trigger", "churn/7", KEY)
    assert first["payload"]["summary"] == "Drift: churn, 1 column moved"
    assert (first["payload"]["severity"], first["payload"]["class"], first["payload"]["source"]) == ("warning", "drift.detected", "churn")
    assert "0.312" in first["payload"]["custom_details"]["message"]
    assert last == {"routing_key": KEY, "event_action": "resolve", "dedup_key": "churn/7"}
    assert [state for state, _ in duty.log()] == ["delivered", "delivered"]


def test_broken_data_is_critical() -> None:
    untrusted = DataUntrusted(**detected().model_dump(exclude={"drops", "trainable"}))
    assert request(event(untrusted))["payload"]["severity"] == "critical"


def test_reminder_belongs_to_the_same_incident() -> None:
    assert request(event(detected()), Occasion(reminder=1))["dedup_key"] == "churn/7"


def test_other_message_cannot_open_a_closed_incident_again() -> None:
    failed = event(TrainingFailed(monitor="churn", episode=7, plan="p", job="j"))
    assert request(failed)["dedup_key"] == f"churn/7:{failed.id}"


def test_request_of_many_hostile_columns_stays_within_limits() -> None:
    told = event(detected(columns=[f"{n}{'<!channel>' * 40}" for n in range(500)], summary="x" * 10_000))
    asked = request(told)
    assert len(asked["payload"]["summary"]) <= 1024
    assert len(asked["dedup_key"]) <= 255
    assert len(str(asked).encode()) < 512_000


@pytest.mark.parametrize(
    ("status", "row"), [(429, ("pending", "HTTP 429")), (500, ("pending", "HTTP 500")), (400, ("refused", "HTTP 400"))]
)
async def test_status_decides_between_retry_and_refusal(duty: Rig, server: Server, status: int, row: tuple[str, str]) -> None:
    server.replies.append(Reply(status, f'{{"errors":["{KEY}"]}}'))
    await duty.tell(detected())
    await duty.deliver()
    assert duty.log() == [row]


async def test_routing_key_is_in_no_log_or_table(duty: Rig, server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.replies.extend([Reply(500, KEY), Reply(400, KEY)])
    await duty.tell(detected())
    await duty.deliver(within=timedelta(hours=1))
    out, err = capfd.readouterr()
    assert len(server.requests) == 2
    assert "SECRET" not in out + err + str(duty.announced())
    assert b"SECRET" not in b"".join(path.read_bytes() for path in tmp_path.glob("notifier.db*"))
