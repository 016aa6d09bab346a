"""Tables, migrations, retention."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select

from driftsonde.core.ports import Delivery
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier import schema as tables
from driftsonde.notifier.store import Claim, Store

from .support import NOON, SECOND, ListChannel, Rig, detected, event, rejected, resolved

MONTH = timedelta(days=31)


def rows(rig: Rig, table: str) -> int:
    """Count a table's rows."""
    with rig.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(tables.metadata.tables[table])) or 0


def test_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/n.db")
    database.migrate(tables.MIGRATIONS)
    database.migrate(tables.MIGRATIONS)  # a second replica
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
    database.close()


def test_state_of_the_first_schema_is_kept(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/n.db")
    only_first = tmp_path / "first"
    only_first.mkdir()
    (only_first / "0001_initial.py").write_text((tables.MIGRATIONS / "0001_initial.py").read_text())
    database.migrate(only_first)
    with database.write() as connection:
        connection.exec_driver_sql(
            "insert into delivery (event_id, channel, monitor, group_key, state, attempts, detail, created_at, due_at, body)"
            f" values ('e', 'ops', 'churn', 'churn/7', 'pending', 0, '', '{NOON:%F %T}', '{NOON:%F %T}', 'b')"
        )
    database.migrate(tables.MIGRATIONS)
    clock = FakeClock(NOON + SECOND)
    store = Store(database, Outbox(database, tables.outbox, tables.inbox, clock), clock)
    with database.write() as connection:
        claim = store.claim(connection, "ops", SECOND, ("warning", "critical"))
        assert isinstance(claim, Claim)
        assert (claim.body, claim.reminder) == ("b", 0)
    database.close()


async def test_handler_and_crash_leave_all_or_nothing(rig: Rig) -> None:
    try:
        with rig.database.write() as connection:
            rig.store.record(connection, event(detected()), ["ops"])
            raise ZeroDivisionError
    except ZeroDivisionError:
        assert [rows(rig, name) for name in ("inbox", "incident", "delivery")] == [0, 0, 0]
    await rig.tell(detected())
    assert [rows(rig, name) for name in ("inbox", "incident", "delivery")] == [1, 1, 1]


async def test_delivered_body_is_not_kept(rig: Rig) -> None:
    await rig.tell(detected())
    await rig.deliver()
    with rig.database.read() as connection:
        assert connection.scalar(select(tables.delivery.c.body)) is None


async def test_closed_incidents_are_forgotten_open_ones_kept(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(detected(1), resolved(1), detected(2), rejected("k"))
    await rig.deliver(within=10 * SECOND)
    rig.clock.advance(MONTH)
    await rig.database.run(rig.store.tidy, ("ops",))
    assert rows(rig, "incident") == 1
    assert rows(rig, "delivery") == 1
    assert rows(rig, "inbox") == 0
    await rig.tell(detected(2), attempt=700)  # the hourly repeat of an episode that is open for a month
    await rig.deliver(within=10 * SECOND)
    assert [sent.data.episode for sent in channel.sent].count(2) == 1


async def test_messages_for_removed_channel_expire(rig: Rig, channel: ListChannel) -> None:
    channel.answers.append(Delivery("retry", "HTTP 500"))
    await rig.tell(detected())
    await rig.deliver()
    await rig.database.run(rig.store.tidy, ())
    assert rig.log()[0][0] == "pending"
    rig.clock.advance(timedelta(hours=24, seconds=1))
    await rig.database.run(rig.store.tidy, ())
    assert rig.log() == [("expired", "channel is configured no more")]
    assert rig.announced()[0]["outcome"] == "expired"
