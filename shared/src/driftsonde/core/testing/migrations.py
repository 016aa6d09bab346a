"""Whether a service's revisions make the tables that it declares."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData

from driftsonde.core.store.engine import Database


def differences(url: str, versions: Path, metadata: MetaData) -> list[object]:
    """Migrate an empty database, twice as a second replica would, and return what is not as declared."""
    database = Database(url)
    try:
        database.migrate(versions)
        database.migrate(versions)
        with database.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
            return list(compare_metadata(context, metadata))
    finally:
        database.close()
