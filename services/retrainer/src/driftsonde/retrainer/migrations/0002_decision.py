"""Decision records, and what decisions depend on."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.add_column("model", sa.Column("drops", sa.Text(), nullable=False, server_default="[]"))
    op.create_table("confirmed", *_episode())
    op.create_table("unreadable", sa.Column("monitor", sa.String(32), primary_key=True), sa.Column("at", _TIME, nullable=False))
    op.create_table(
        "approval",
        *_episode(),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.Column("by", sa.String(100), nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_table(
        "decision",
        *_episode(),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )


def _episode() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("episode", sa.Integer(), primary_key=True, autoincrement=False),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("decision", "approval", "unreadable", "confirmed"):
        op.drop_table(table)
    with op.batch_alter_table("model") as model:
        model.drop_column("drops")
