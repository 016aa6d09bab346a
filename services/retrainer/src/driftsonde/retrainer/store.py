"""The retrainer's tables, and the statements that more than one module needs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Column, Connection, Float, Index, Integer, MetaData, Row, String, Table, Text, select

from driftsonde.core.events import DropRef
from driftsonde.core.store.engine import Database, UtcDateTime
from driftsonde.core.store.outbox import inbox_table, outbox_table

metadata: Final = MetaData()
outbox: Final = outbox_table(metadata)
inbox: Final = inbox_table(metadata)

ACTIVE: Final = ("executing", "preparing", "training", "evaluating", "promoting", "deploying", "transforming")
UNDECIDED: Final = ("proposed", "waiting")
TERMINAL: Final = ("done", "held", "rolled_back", "refused", "failed")

identity: Final = Table("identity", metadata, Column("uuid", String(32), primary_key=True))

plan: Final = Table(
    "plan", metadata,
    Column("id", String(64), primary_key=True),
    Column("monitor", String(32), nullable=False),
    Column("episode", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("until", UtcDateTime),
    Column("sequence", Integer, nullable=False, default=0),
    Column("event", Text, nullable=False),
    Column("event_id", String(32)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("plan_state", "state"),
    Index("plan_episode", "monitor", "episode", unique=True),
)  # fmt: skip

job: Final = Table(
    "job", metadata,
    Column("name", String(63), primary_key=True),
    Column("plan", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("step", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # wanted, created, succeeded, failed
    Column("detail", Text, nullable=False, default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Column("seconds", Float),
    Index("job_step", "plan", "step", "attempt", unique=True),
)  # fmt: skip

model: Final = Table(
    "model", metadata,
    Column("name", String(63), primary_key=True),
    Column("monitor", String(32), nullable=False),
    Column("plan", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # challenger, champion, retired, rolled_back
    Column("data", String(1024), nullable=False),
    Column("encoding", String(1024), nullable=False),
    Column("package", String(256), nullable=False),
    Column("metrics", Text, nullable=False),
    Column("drops", Text, nullable=False, default="[]", server_default="[]"),  # what it was trained on, the latest that fit into an event
    Column("created_at", UtcDateTime, nullable=False),
)  # fmt: skip

budget: Final = Table(
    "budget", metadata,
    Column("plan", String(64), primary_key=True),
    Column("monitor", String(32), nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
)  # fmt: skip

episode_end: Final = Table(
    "episode_end", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("episode", Integer, primary_key=True),
)  # fmt: skip

confirmed: Final = Table(
    "confirmed", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("episode", Integer, primary_key=True),
)  # fmt: skip

unreadable: Final = Table(
    "unreadable", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("at", UtcDateTime, nullable=False),  # the latest
)  # fmt: skip

approval: Final = Table(
    "approval", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("episode", Integer, primary_key=True),
    Column("state", String(16), nullable=False),  # asked, approved, rejected
    Column("until", UtcDateTime, nullable=False),
    Column("by", String(100), nullable=False, default=""),
    Column("at", UtcDateTime, nullable=False),
)  # fmt: skip

decision: Final = Table(
    "decision", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("episode", Integer, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("answer", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)  # fmt: skip

untrusted: Final = Table(
    "untrusted", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("episode", Integer, primary_key=True),
)  # fmt: skip


def store_uuid(connection: Connection, database: Database) -> str:
    """Return what tells this store from every other, made when it was new: job names depend on it."""
    database.lock(connection, "identity")
    known = connection.scalar(select(identity.c.uuid))
    if known is None:
        known = uuid.uuid4().hex
        connection.execute(identity.insert().values(uuid=known))
    return str(known)


def plans_in(connection: Connection, states: Sequence[str]) -> Sequence[Row[Any]]:
    """Return the plans in some states, oldest first."""
    return connection.execute(select(plan).where(plan.c.state.in_(states)).order_by(plan.c.created_at, plan.c.id)).all()


def plan_row(connection: Connection, plan_id: str) -> Row[Any] | None:
    """Return a plan."""
    return connection.execute(select(plan).where(plan.c.id == plan_id)).first()


def newest_job(connection: Connection, plan_id: str, step: str) -> Row[Any] | None:
    """Return a step's latest attempt."""
    return connection.execute(select(job).where(job.c.plan == plan_id, job.c.step == step).order_by(job.c.attempt.desc()).limit(1)).first()


def champion(connection: Connection, monitor: str) -> Row[Any] | None:
    """Return the monitor's champion, if driftsonde trained it."""
    return connection.execute(
        select(model).where(model.c.monitor == monitor, model.c.state == "champion").order_by(model.c.created_at.desc()).limit(1)
    ).first()


def drops_of(row: Row[Any]) -> tuple[DropRef, ...]:
    """Return what a model was trained on."""
    return tuple(DropRef.model_validate(drop) for drop in json.loads(row.drops))


def trainings_since(connection: Connection, since: datetime, monitor: str | None = None) -> tuple[datetime, ...]:
    """Return when trainings began, oldest first."""
    wanted = select(budget.c.at).where(budget.c.at > since).order_by(budget.c.at)
    return tuple(connection.scalars(wanted if monitor is None else wanted.where(budget.c.monitor == monitor)).all())


def last_training(connection: Connection, monitor: str) -> datetime | None:
    """Return when the monitor last trained, however long ago."""
    times = connection.scalars(select(budget.c.at).where(budget.c.monitor == monitor).order_by(budget.c.at.desc()).limit(1)).all()
    return times[0] if times else None


def training_before(connection: Connection, monitor: str, plan_id: str) -> datetime | None:
    """Return when the monitor last trained before a plan."""
    wanted = select(budget.c.at).where(budget.c.monitor == monitor, budget.c.plan != plan_id).order_by(budget.c.at.desc())
    times = connection.scalars(wanted.limit(1)).all()
    return times[0] if times else None


def has_news(connection: Connection, row: Row[Any]) -> bool:
    """Whether something happened that a waiting plan waits for, so that it must not wait any longer."""
    mine = {"unconfirmed": confirmed, "approval": approval}.get(row.reason)
    told = [episode_end] if mine is None else [episode_end, mine]
    for table in told:
        here = select(table.c.episode).where(table.c.monitor == row.monitor, table.c.episode == row.episode)
        if table is approval:
            here = here.where(approval.c.state != "asked")
        if connection.scalar(here) is not None:
            return True
    return False


def open_plan_events(connection: Connection) -> Sequence[str]:
    """Return the latest event of each open plan: the relay publishes it again and again."""
    wanted = select(plan.c.event_id).where(plan.c.state.in_((*UNDECIDED, *ACTIVE)), plan.c.event_id.is_not(None))
    return [event_id for event_id in connection.scalars(wanted) if event_id is not None]


DAY: Final = timedelta(days=1)
