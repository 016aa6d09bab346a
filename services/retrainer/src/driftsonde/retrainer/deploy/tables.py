"""What is remembered of deployments, in the retrainer's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Column, Connection, Row, String, Table, Text, select

from driftsonde.core.store.engine import Database, UtcDateTime
from driftsonde.retrainer.deploy.evidence import Tally
from driftsonde.retrainer.store import metadata

deployment: Final = Table(
    "deployment", metadata,
    Column("plan", String(64), primary_key=True),
    Column("monitor", String(32), nullable=False, index=True),
    Column("endpoint", String(63), nullable=False),
    Column("strategy", String(16), nullable=False),
    Column("model", String(63), nullable=False),
    Column("former", String(63)),  # endpoint configurations: in force before,
    Column("asked", String(63)),  # asked for last,
    Column("in_force", String(63)),  # and seen in force last, since when
    Column("since", UtcDateTime),
    Column("reason", Text, nullable=False, default=""),
    Column("stop", Text),  # why somebody wants it to end
    Column("outcome", String(16)),  # live, rolled_back
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
)  # fmt: skip

reward: Final = Table(
    "reward", metadata,
    Column("plan", String(64), primary_key=True),
    Column("key", String(1024), primary_key=True),
    Column("etag", String(128), nullable=False),
    Column("tallies", Text, nullable=False),  # by variant: how many rewards, and their sum
)  # fmt: skip


rollback: Final = Table(
    "rollback", metadata,
    Column("model", String(63), primary_key=True),  # that is taken back
    Column("monitor", String(32), nullable=False),
    Column("plan", String(64), nullable=False),
    Column("endpoint", String(63)),  # none: batch transform only
    Column("former", String(63)),  # endpoint configuration to return to
    Column("previous", String(63)),  # model that becomes champion again; none: one that driftsonde did not train
    Column("reason", Text, nullable=False),
    Column("state", String(16), nullable=False),  # wanted, asked, done, failed
    Column("detail", Text, nullable=False, default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)  # fmt: skip


def deployment_of(connection: Connection, plan_id: str) -> Row[Any]:
    """Return a plan's deployment.

    Raises:
        LookupError: if it has none, which the order of states makes impossible.
    """
    row = connection.execute(select(deployment).where(deployment.c.plan == plan_id)).first()
    if row is None:
        raise LookupError(f"{plan_id} has no deployment")
    return row


def counted(connection: Connection, plan_id: str) -> dict[str, str]:
    """Return the label objects that were counted: ETag by key."""
    rows = connection.execute(select(reward.c.key, reward.c.etag).where(reward.c.plan == plan_id))
    return {row.key: row.etag for row in rows}


def count(connection: Connection, database: Database, plan_id: str, key: str, etag: str, tallies: Mapping[str, Tally]) -> None:
    """Note what one label object says; another version of it takes the place of the one before."""
    text = json.dumps({variant: [tally.rows, tally.total] for variant, tally in tallies.items()}, sort_keys=True)
    values = {"plan": plan_id, "key": key, "etag": etag, "tallies": text}
    connection.execute(database.upsert(reward, values, key=("plan", "key"), update=("etag", "tallies")))


def totals(connection: Connection, plan_id: str) -> dict[str, Tally]:
    """Return all rewards of a deployment, by variant."""
    found: dict[str, Tally] = {}
    for text in connection.scalars(select(reward.c.tallies).where(reward.c.plan == plan_id).order_by(reward.c.key)):
        for variant, (rows, total) in json.loads(text).items():
            found[variant] = found.get(variant, Tally()) + Tally(rows, total)
    return found
