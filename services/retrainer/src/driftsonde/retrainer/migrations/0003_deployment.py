"""Deployments of promoted models to endpoints, the rewards that a bandit has counted, and rollbacks by hand."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "deployment",
        sa.Column("plan", sa.String(64), primary_key=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("endpoint", sa.String(63), nullable=False),
        sa.Column("strategy", sa.String(16), nullable=False),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("former", sa.String(63)),
        sa.Column("asked", sa.String(63)),
        sa.Column("in_force", sa.String(63)),
        sa.Column("since", _TIME),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stop", sa.Text()),
        sa.Column("outcome", sa.String(16)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
    )
    op.create_index("ix_deployment_monitor", "deployment", ["monitor"])
    op.create_table(
        "reward",
        sa.Column("plan", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(1024), primary_key=True),
        sa.Column("etag", sa.String(128), nullable=False),
        sa.Column("tallies", sa.Text(), nullable=False),
    )
    op.create_table(
        "rollback",
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("endpoint", sa.String(63)),
        sa.Column("former", sa.String(63)),
        sa.Column("previous", sa.String(63)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("rollback")
    op.drop_table("reward")
    op.drop_table("deployment")
