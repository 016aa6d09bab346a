"""What differs between the databases, on a real PostgreSQL with two replicas."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from driftsonde.core.ports import Delivery
from driftsonde.core.store.engine import Database
from driftsonde.notifier import schema as tables

from .support import SECOND, ListChannel, Rig, detected, rejected, resolved

HOUR = timedelta(hours=1)


async def test_two_replicas_on_postgres_send_each_message_once(tmp_path: Path, postgres_url: str) -> None:
    database = Database(postgres_url, replicas=2)
    database.migrate(tables.MIGRATIONS)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    database.close()
    channel = ListChannel()
    channel.answers.append(Delivery("retry", "HTTP 429", 5.0))
    rig = Rig(tmp_path, {"ops": channel}, url=postgres_url)
    other = rig.queue("ops", channel)
    await rig.tell(detected(7), resolved(7), detected(8), resolved(9), detected(9), rejected("a"), rejected("b"))
    await rig.tell(detected(7), attempt=1)
    assert rig.outcomes == ["queued", "queued", "queued", "queued", "stale", "queued", "folded", "duplicate"]
    for _ in range(40):
        await asyncio.gather(rig.queues["ops"].step(), other.step())
        rig.clock.advance(SECOND / 2)
    assert len(channel.sent) == 6
    assert [event.data.TYPE for event in channel.sent if event.data.episode == 7][-2:] == ["drift.detected", "drift.resolved"]
    assert len(rig.announced()) == 5
    rig.close()


async def test_two_replicas_on_postgres_release_and_remind_once(tmp_path: Path, postgres_url: str) -> None:
    channel = ListChannel()
    rig = Rig(tmp_path, {"ops": channel}, url=postgres_url, remind="24h")
    other = Rig(tmp_path, {"ops": channel}, url=postgres_url, clock=rig.clock, remind="24h")
    await rig.silence(4 * HOUR)
    await rig.tell(detected(7), detected(8), resolved(8))
    for _ in range(13):
        rig.clock.advance(5 * HOUR)
        await asyncio.gather(rig.rounds(), other.rounds())
        for _ in range(4):
            await asyncio.gather(rig.queues["ops"].step(), other.queues["ops"].step())
            rig.clock.advance(SECOND)
    other.close()
    rig.close()
    assert channel.told() == ["drift.detected 7"] * 3
    assert sorted(occasion.reminder for occasion in channel.occasions) == [0, 1, 2]
