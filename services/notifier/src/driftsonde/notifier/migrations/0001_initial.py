"""The notifier's first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "incident",
        sa.Column("group_key", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detector_sequence", sa.Integer(), nullable=False),
        sa.Column("retrainer_sequence", sa.Integer(), nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    _create_delivery()
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


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("episode", sa.Integer()),
        sa.Column("group_key", sa.String(64), nullable=False),
        sa.Column("fold_key", sa.String(80)),
        sa.Column("body", sa.Text()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("detail", sa.String(200), nullable=False),
        sa.Column("address", sa.String(32)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("hold_until", _TIME),
        sa.Column("claimed_until", _TIME),
        sa.Column("tried_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.UniqueConstraint("event_id", "channel", name="delivery_once"),
    )
    op.create_index("delivery_queue", "delivery", ["channel", "state", "due_at"])
    op.create_index("delivery_group", "delivery", ["group_key", "state", "id"])
    op.create_index("delivery_pace", "delivery", ["channel", "tried_at"])


def downgrade() -> None:
    """Drop every table."""
    for table in ("inbox", "outbox", "delivery", "incident"):
        op.drop_table(table)
