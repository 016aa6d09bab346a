"""The notifier's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

from driftsonde.core.store.engine import UtcDateTime
from driftsonde.core.store.outbox import inbox_table, outbox_table

MIGRATIONS: Final = Path(__file__).parent / "migrations"

metadata = MetaData()
incident = Table(
    "incident", metadata,
    Column("group_key", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("detector_sequence", Integer, nullable=False),
    Column("retrainer_sequence", Integer, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("alarm", Text),  # what opened it, while it is open: reminders repeat it
)  # fmt: skip
delivery = Table(
    "delivery", metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", String(32), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("monitor", String(32), nullable=False),
    Column("episode", Integer),
    Column("group_key", String(64), nullable=False),
    Column("fold_key", String(80)),
    Column("body", Text),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("detail", String(200), nullable=False),
    Column("address", String(32)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("hold_until", UtcDateTime),
    Column("claimed_until", UtcDateTime),
    Column("tried_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("type", String(64)),
    Column("severity", String(16)),
    Column("reminder", Integer),  # its number; null: it is none
    UniqueConstraint("event_id", "channel", name="delivery_once"),
    Index("delivery_queue", "channel", "state", "due_at"),
    Index("delivery_group", "group_key", "state", "id"),
    Index("delivery_pace", "channel", "tried_at"),
)  # fmt: skip
silence = Table(
    "silence", metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("monitor", String(32), nullable=False),
    Column("channel", String(32)),  # null: every channel
    Column("reason", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Index("silence_until", "until"),
)  # fmt: skip
thread = Table(
    "thread", metadata,
    Column("group_key", String(64), primary_key=True),
    Column("channel", String(32), primary_key=True),
    Column("address", String(32), nullable=False),  # a thread of another place is none here
    Column("thread", String(64), nullable=False),
)  # fmt: skip
outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
