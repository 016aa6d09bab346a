"""The trace of what an object's latest event, and what marked a window last, belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = ("object", "dirty")


def upgrade() -> None:
    """Add the columns."""
    for table in _TABLES:
        op.add_column(table, sa.Column("trace", sa.String(55)))


def downgrade() -> None:
    """Take them away."""
    for table in _TABLES:
        op.drop_column(table, "trace")
