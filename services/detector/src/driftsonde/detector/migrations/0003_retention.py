"""Windows whose parts were made one, and how far large objects were counted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("window", sa.Column("compacted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "checkpoint",
        sa.Column("monitor", sa.String(32), primary_key=True),
        sa.Column("bucket", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(1024), primary_key=True),
        sa.Column("content", sa.String(1300), nullable=False),
        sa.Column("baseline", sa.Integer(), nullable=False),
        sa.Column("groups", sa.Integer(), nullable=False),
        sa.Column("counted", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("checkpoint")
    op.drop_column("window", "compacted")
