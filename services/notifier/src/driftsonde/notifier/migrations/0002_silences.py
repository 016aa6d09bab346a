"""Silences, reminders, threads; a delivery's type and severity."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns and tables; what waits is as urgent as most things are."""
    op.add_column("incident", sa.Column("alarm", sa.Text()))
    op.add_column("delivery", sa.Column("type", sa.String(64)))
    op.add_column("delivery", sa.Column("severity", sa.String(16)))
    op.add_column("delivery", sa.Column("reminder", sa.Integer()))
    op.execute("UPDATE delivery SET severity = 'warning'")
    op.create_table(
        "silence",
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(32)),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("until", _TIME, nullable=False),
    )
    op.create_index("silence_until", "silence", ["until"])
    op.create_table(
        "thread",
        sa.Column("group_key", sa.String(64), primary_key=True),
        sa.Column("channel", sa.String(32), primary_key=True),
        sa.Column("address", sa.String(32), nullable=False),
        sa.Column("thread", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("thread")
    op.drop_table("silence")
    with op.batch_alter_table("delivery") as table:
        for column in ("type", "severity", "reminder"):
            table.drop_column(column)
    with op.batch_alter_table("incident") as table:
        table.drop_column("alarm")
