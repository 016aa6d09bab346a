"""Connections and transactions. Every difference between SQLite and PostgreSQL lives here."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, Dialect, Engine, MetaData, Table, create_engine, event, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.schema import CreateSchema
from sqlalchemy.types import DateTime, TypeDecorator

from driftsonde.core.errors import ConfigError, RetryableError
from driftsonde.core.log import get_logger

P = ParamSpec("P")
T = TypeVar("T")
log = get_logger(__name__)

_BUSY_SECONDS = 15
_MIGRATION_LOCK = 0x64736F6E  # any constant; the same in every replica
_TRIES = 5


class UtcDateTime(TypeDecorator[Any]):
    """Aware datetimes, in UTC on both ways: SQLite would forget the zone, PostgreSQL answers in the session's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Refuse naive datetimes before they are stored."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Give SQLite's naive answer its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_CONNECTION = {
    "client_encoding": "utf8",  # of a database in SQL_ASCII all text would be bytes
    # A server that can no longer be reached does not say so: without these a statement waits for it for a quarter of an hour.
    "connect_timeout": 5, "tcp_user_timeout": 15_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
}  # fmt: skip
"""What libpq is told, where the URL does not say otherwise; times in seconds, but for one in milliseconds."""


class Database:
    """One service's state.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql://…`.
        replicas: how many replicas share it; SQLite allows one.

    Raises:
        ConfigError: for another kind of URL, or SQLite with more than one replica.
    """

    def __init__(self, url: str, *, replicas: int = 1) -> None:
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):  # not chained: both repeat parts of the URL
            raise ConfigError("database_url: not a URL; expected sqlite:///path or postgresql://user@host/db") from None
        if "@" in (parsed.host or ""):  # what follows the first @ of a password; the driver's error would name it as the host
            raise ConfigError("database_url: more than one @; write @ in a user or password as %40")
        self._puts: dict[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], Any] = {}
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if replicas > 1:
                raise ConfigError("database_url: SQLite serves one replica; use postgresql:// for more")
            if parsed.database and parsed.database != ":memory:":
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = _sqlite_engine(url)
        elif parsed.get_backend_name() == "postgresql":
            self.engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"), hide_parameters=True, pool_size=8, max_overflow=8, pool_pre_ping=True,
                connect_args={name: value for name, value in _CONNECTION.items() if name not in parsed.query},
            )  # fmt: skip
        else:
            raise ConfigError(f"database_url: {parsed.get_backend_name()!r} is not supported; use sqlite or postgresql")

    def migrate(self, versions: str | Path) -> None:
        """Bring the schema up to date; `versions` is the service's folder of revisions. Safe in several replicas at once.

        A schema that the URL's search_path names is made where it is missing, and the user may.

        Raises:
            ConfigError: if the database cannot be reached.
        """
        config = AlembicConfig()
        config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
        config.set_main_option("version_locations", str(versions))
        config.set_main_option("path_separator", "os")
        try:
            with self.write() as connection:
                if not self.is_sqlite:
                    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                    _create_schema(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except OperationalError as exc:
            raise ConfigError(f"database_url: cannot open the database: {exc.orig}") from exc

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction; in SQLite it holds the write lock from its beginning."""
        with self.engine.connect().execution_options(driftsonde_write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look that takes no lock."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    async def run(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(connection, ...)` in a write transaction in a worker thread.

        Lost connections, deadlocks and busy databases are tried again; `work` must therefore have no effect but its
        statements.

        Raises:
            RetryableError: when the database stays away.
        """
        return await asyncio.to_thread(lambda: self._write_with_retries(work, *args, **kwargs))

    async def look(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a read-only `work(connection, ...)` in a worker thread."""

        def call() -> T:
            with self.read() as connection:
                return work(connection, *args, **kwargs)

        try:
            return await asyncio.to_thread(call)
        except OperationalError as exc:
            raise RetryableError(f"database is away: {exc.orig}", retry_after=2.0) from exc

    def _write_with_retries(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(_TRIES):
            try:
                with self.write() as connection:
                    return work(connection, *args, **kwargs)
            except DBAPIError as exc:
                if not _transient(exc):
                    raise
                log.warning("database busy or away", attempt=attempt, error=str(exc.orig))
                if attempt == _TRIES - 1:
                    raise RetryableError(f"database is away: {exc.orig}", retry_after=5.0) from exc
                time.sleep(random.uniform(0, 0.1 * 2**attempt))  # full jitter
        raise AssertionError("unreachable")

    def lock(self, connection: Connection, key: str, *, shared: bool = False) -> None:
        """Hold `key` until the transaction ends; `shared` with others that share it. SQLite's write transaction is such a lock already."""
        if not self.is_sqlite:
            acquire = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
            connection.execute(select(acquire(func.hashtextextended(key, 0))))

    def upsert(
        self,
        table: Table,
        values: Mapping[str, Any],
        *,
        key: Sequence[str],
        update: Sequence[str] = (),
        change: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return an insert that on conflict of `key` does nothing, or changes the row that is there.

        Args:
            update: columns that take the new values.
            change: columns that take an expression over the row that is there; it sees what others committed meanwhile.
        """
        return self._on_conflict(self._insert(table).values(**values), key, update, change)

    def put(
        self,
        connection: Connection,
        table: Table,
        values: Mapping[str, Any],
        *,
        key: Sequence[str],
        update: Sequence[str] = (),
        change: Mapping[str, Any] | None = None,
    ) -> None:
        """Run an `upsert` whose statement is made once: making it takes longer than running it. `change` must always be the same."""
        kind = (table.name, tuple(key), tuple(update), tuple(change or ()))
        if kind not in self._puts:
            self._puts[kind] = self._on_conflict(self._insert(table), key, update, change)
        connection.execute(self._puts[kind], values)

    def _insert(self, table: Table) -> Any:
        return (sqlite.insert if self.is_sqlite else postgresql.insert)(table)

    @staticmethod
    def _on_conflict(insert: Any, key: Sequence[str], update: Sequence[str], change: Mapping[str, Any] | None) -> Any:
        changes = {name: insert.excluded[name] for name in update} | dict(change or {})
        if not changes:
            return insert.on_conflict_do_nothing(index_elements=list(key))
        return insert.on_conflict_do_update(index_elements=list(key), set_=changes)

    def ping(self) -> None:
        """Raise `OperationalError` when the database is away."""
        with self.read() as connection:
            connection.execute(text("select 1"))

    def create_all(self, metadata: MetaData) -> None:
        """Create tables without migrations: for tests of statements only."""
        with self.write() as connection:
            metadata.create_all(connection)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        url, hide_parameters=True, connect_args={"check_same_thread": False, "isolation_level": None, "timeout": _BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_SECONDS * 1000}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # IMMEDIATE: a deferred transaction that reads first and writes later fails at once when another writer was faster.
        write = connection.get_execution_options().get("driftsonde_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _create_schema(connection: Connection) -> None:
    """Make the first schema of the search path if none of them is there: CloudFormation makes databases, and no schemas."""
    if connection.scalar(select(func.current_schema())) is None:
        first = str(connection.scalar(select(func.current_setting("search_path")))).split(",")[0].strip().strip('"')
        if not first.startswith("$"):
            connection.execute(CreateSchema(first, if_not_exists=True))


def _transient(exc: DBAPIError) -> bool:
    state = getattr(exc.orig, "sqlstate", None)
    return exc.connection_invalidated or isinstance(exc, OperationalError) or state in {"40001", "40P01", "55P03"}
