"""The detector's first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_POSITION = sa.String(1400).with_variant(sa.String(1400, collation="C"), "postgresql")


def upgrade() -> None:
    """Create every table."""
    _create_object()
    _create_part()
    _create_window()
    _create_baseline()
    _create_episode()
    _create_timeline()
    _create_outbox()


def _create_object() -> None:
    op.create_table(
        "object",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("bucket", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(1024), primary_key=True),
        sa.Column("version", sa.String(1024)),
        sa.Column("etag", sa.String(255)),
        sa.Column("sequencer", sa.String(64)),
        sa.Column("event_time", _TIME, nullable=False),
        sa.Column("first_seen", _TIME, nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(24), nullable=False),
        sa.Column("windows", sa.Text(), nullable=False),
        sa.Column("tombstone", sa.Boolean(), nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_index("object_outcome", "object", ["outcome", "monitor"])


def _create_part() -> None:
    op.create_table(
        "part",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("window", sa.String(1300), primary_key=True),
        sa.Column("bucket", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(1024), primary_key=True),
        sa.Column("version", sa.String(1024)),
        sa.Column("etag", sa.String(255)),
        sa.Column("baseline", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
    )
    op.create_index("part_object", "part", ["monitor", "bucket", "key"])


def _create_window() -> None:
    op.create_table(
        "window",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("id", sa.String(1300), primary_key=True),
        sa.Column("position", _POSITION, nullable=False),
        sa.Column("baseline", sa.Integer()),
        sa.Column("start", _TIME),
        sa.Column("end", _TIME),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("first_drop", _TIME),
        sa.Column("verdict", sa.String(16)),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(32)),
        sa.Column("detail", sa.Text()),
        sa.Column("judged_at", _TIME),
    )
    op.create_index("window_order", "window", ["monitor", "baseline", "position"])
    op.create_table(
        "dirty",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("window", sa.String(1300), primary_key=True),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("marks", sa.Integer(), nullable=False),
    )
    op.create_table(
        "progress",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("watermark", _TIME),
        sa.Column("last_drop", _TIME),
    )


def _create_baseline() -> None:
    op.create_table(
        "baseline",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model", sa.String(64)),
        sa.Column("digest", sa.String(64)),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary()),
        sa.Column("error", sa.Text()),
        sa.Column("claimed_until", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
    )


def _create_episode() -> None:
    op.create_table(
        "episode",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("baseline", sa.Integer(), nullable=False),
        sa.Column("opened", sa.String(1300), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("cause", sa.String(16)),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("closed_at", _TIME),
    )


def _create_timeline() -> None:
    op.create_table(
        "timeline",
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(32), nullable=False, unique=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("episode", sa.Integer()),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("timeline_monitor", "timeline", ["monitor", "id"])


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(32), nullable=False, unique=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("published_at", _TIME),
        sa.Column("attempt", sa.Integer(), nullable=False),
    )
    op.create_index("outbox_unpublished", "outbox", ["published_at", "id"])
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.String(32), primary_key=True),
        sa.Column("handled_at", _TIME, nullable=False),
    )
    op.create_index("ix_inbox_handled_at", "inbox", ["handled_at"])


def downgrade() -> None:
    """Drop every table."""
    for table in ("inbox", "outbox", "timeline", "episode", "baseline", "progress", "dirty", "window", "part", "object"):
        op.drop_table(table)
