"""What the control plane knows, in SQLite, written before any answer goes out.

Used from the event loop's thread only; every call is one short transaction.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftsonde.core.local.sagemaker.kinds import ACTIVE, KINDS, JobKind, Json
from driftsonde.core.local.sagemaker.rules import AwsError, project

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    id INTEGER PRIMARY KEY,           -- order of creation: the order jobs run in
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    arn TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    body TEXT NOT NULL,               -- the description as JSON, times as epoch seconds
    created REAL NOT NULL,
    modified REAL NOT NULL,
    token TEXT,                       -- ClientToken of the request that made it
    digest TEXT,                      -- of that request: the same token with another request is a conflict
    UNIQUE (kind, name),
    UNIQUE (kind, token)
);
CREATE TABLE IF NOT EXISTS tags (
    arn TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (arn, key)
);
"""

MAX_TAGS = 50


@dataclass(frozen=True, slots=True)
class Resource:
    """One job, model, group, package, endpoint or endpoint configuration. `body` is its description without the status fields."""

    kind: str
    name: str
    arn: str
    status: str
    body: Json
    created: float
    modified: float
    token: str | None = None
    digest: str | None = None


def describe(kind: JobKind, job: Resource) -> Json:
    """Return a job as its Describe call answers, times in epoch seconds."""
    known = {kind.key("Name"): job.name, kind.key("Arn"): job.arn, kind.key("Status"): job.status}
    body = {**job.body, **known, "CreationTime": job.created, "LastModifiedTime": job.modified}
    return project(f"Describe{kind.title}Job", body)


class Registry:
    """Every resource and its tags.

    Args:
        path: the database file; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        # FULL: an answer that was given survives a power cut too.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def create(self, resource: Resource, tags: Sequence[Mapping[str, str]] = ()) -> None:
        """Store a new resource with its tags.

        Raises:
            AwsError: `ResourceInUse` if the name is taken, whatever the request says.
        """
        columns = ("kind", "name", "arn", "status", "body", "created", "modified", "token", "digest")
        values = [json.dumps(resource.body) if column == "body" else getattr(resource, column) for column in columns]
        with self._transaction() as db:
            try:
                db.execute(f"INSERT INTO resources ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", values)
            except sqlite3.IntegrityError:
                raise AwsError("ResourceInUse", f"{resource.arn} already exists") from None
            self._put_tags(resource.arn, tags)

    def get(self, kind: str, name: str) -> Resource | None:
        """Return a resource by name, or None."""
        return self._one("kind = ? AND name = ?", kind, name)

    def by_arn(self, arn: str) -> Resource | None:
        """Return a resource by its ARN, or None."""
        return self._one("arn = ?", arn)

    def by_token(self, kind: str, token: str) -> Resource | None:
        """Return the resource that a request with this ClientToken made, or None."""
        return self._one("kind = ? AND token = ?", kind, token)

    def all_of(self, kind: str) -> list[Resource]:
        """Return every resource of a kind, oldest first."""
        rows = self._db.execute("SELECT * FROM resources WHERE kind = ? ORDER BY id", (kind,))
        return [_resource(row) for row in rows]

    def jobs(self) -> list[Resource]:
        """Return every job of every kind, oldest first."""
        marks = ", ".join("?" * len(KINDS))
        rows = self._db.execute(f"SELECT * FROM resources WHERE kind IN ({marks}) ORDER BY id", [*KINDS])
        return [_resource(row) for row in rows]

    def unfinished(self) -> list[Resource]:
        """Return every job that has not ended, oldest first."""
        return [job for job in self.jobs() if job.status in ACTIVE]

    def update(self, kind: str, name: str, fields: Mapping[str, Any], *, status: str | None = None) -> Resource:
        """Change fields of the description and the status; a field that is None is removed.

        Raises:
            LookupError: if there is no such resource.
        """
        with self._transaction():
            before = self.get(kind, name)
            if before is None:
                raise LookupError(f"no {kind} named {name}")
            body = {key: value for key, value in {**before.body, **fields}.items() if value is not None}
            self._db.execute(
                "UPDATE resources SET status = ?, body = ?, modified = ? WHERE kind = ? AND name = ?",
                (status or before.status, json.dumps(body), time.time(), kind, name),
            )
            after = self.get(kind, name)
        if after is None:
            raise LookupError(f"{kind} {name} vanished")
        return after

    def delete(self, kind: str, name: str) -> bool:
        """Delete a resource and its tags; return whether it existed."""
        with self._transaction() as db:
            db.execute("DELETE FROM tags WHERE arn IN (SELECT arn FROM resources WHERE kind = ? AND name = ?)", (kind, name))
            return db.execute("DELETE FROM resources WHERE kind = ? AND name = ?", (kind, name)).rowcount > 0

    def tag(self, arn: str, tags: Sequence[Mapping[str, str]]) -> None:
        """Add tags or replace their values.

        Raises:
            AwsError: `ResourceLimitExceeded` if the resource would have too many.
        """
        with self._transaction():
            self._put_tags(arn, tags)
            if len(self.tags(arn)) > MAX_TAGS:
                raise AwsError("ResourceLimitExceeded", f"{arn} would have more than {MAX_TAGS} tags")

    def tags(self, arn: str) -> dict[str, str]:
        """Return the tags of a resource."""
        return dict(tuple(row) for row in self._db.execute("SELECT key, value FROM tags WHERE arn = ? ORDER BY key", (arn,)))

    def _put_tags(self, arn: str, tags: Sequence[Mapping[str, str]]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", [(arn, tag["Key"], tag["Value"]) for tag in tags])

    def _one(self, where: str, *values: str) -> Resource | None:
        row = self._db.execute(f"SELECT * FROM resources WHERE {where}", values).fetchone()
        return _resource(row) if row else None


def _resource(row: sqlite3.Row) -> Resource:
    fields = {key: row[key] for key in row.keys() if key not in ("id", "body")}  # noqa: SIM118 - a Row iterates over its values
    return Resource(**fields, body=json.loads(row["body"]))
