"""The newest drops of a monitor, found without reading all of them."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("object_event", "object", ["monitor", "event_time"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index("object_event", "object")
