"""The retrainer's first schema."""

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
    op.create_table("identity", sa.Column("uuid", sa.String(32), primary_key=True))
    _create_plan()
    _create_job()
    _create_model()
    _create_limits()
    _create_outbox()


def _create_plan() -> None:
    op.create_table(
        "plan",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", _TIME),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("event_id", sa.String(32)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_index("plan_state", "plan", ["state"])
    op.create_index("plan_episode", "plan", ["monitor", "episode"], unique=True)


def _create_job() -> None:
    op.create_table(
        "job",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("seconds", sa.Float()),
    )
    op.create_index("job_step", "job", ["plan", "step", "attempt"], unique=True)


def _create_model() -> None:
    op.create_table(
        "model",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("data", sa.String(1024), nullable=False),
        sa.Column("encoding", sa.String(1024), nullable=False),
        sa.Column("package", sa.String(256), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )


def _create_limits() -> None:
    op.create_table(
        "budget",
        sa.Column("plan", sa.String(64), primary_key=True),
        sa.Column("monitor", sa.String(32), nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_index("ix_budget_at", "budget", ["at"])
    for name in ("episode_end", "untrusted"):
        op.create_table(
            name,
            sa.Column("monitor", sa.String(32), primary_key=True),
            sa.Column("episode", sa.Integer(), primary_key=True, autoincrement=False),
        )


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
    for table in ("inbox", "outbox", "untrusted", "episode_end", "budget", "model", "job", "plan", "identity"):
        op.drop_table(table)
