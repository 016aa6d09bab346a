"""`driftsonde replay`: dead letters, objects, events and windows once more."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftsonde.core.errors import ConfigError

if TYPE_CHECKING:
    from driftsonde.core.store.engine import Database

_QueueUrl = Annotated[str, typer.Option(envvar="DRIFTSONDE_QUEUE_URL", help="The detector's intake queue.")]
_LetterUrl = Annotated[str, typer.Option(envvar="DRIFTSONDE_DEAD_LETTER_URL", help="The dead-letter queue.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")]
_LEASE_SECONDS = 600


def dead_letters(
    queue_url: _QueueUrl,
    dead_letter_url: _LetterUrl,
    reason: Annotated[list[str], typer.Option(help="Only letters of this reason, e.g. too_large; may be given again.")] = [],  # noqa: B006  # typer copies it
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    dry_run: _DryRun = False,
) -> None:
    """Send dead letters back to the intake queue: after a fix, a raised limit, a permission that was missing.

    A drop that still cannot be read comes back with its reason. Letters whose message was too long to keep whole are left.
    """
    from driftsonde.core.aws.queue import SqsQueue
    from driftsonde.core.aws.session import aws_client
    from driftsonde.core.replaying import replay_dead_letters

    async def run(progress: Callable[[], None]) -> tuple[Counter[str], Counter[str]]:
        async with aws_client("sqs") as sqs:
            letters, intake = SqsQueue(sqs, dead_letter_url, lease=_LEASE_SECONDS, wait=2), SqsQueue(sqs, queue_url)
            return await replay_dead_letters(letters, None if dry_run else intake, reasons=reason, limit=limit, progress=progress)

    with _counting("letters") as progress:
        moved, left = asyncio.run(run(progress))
    _say("sent again", moved)
    _say("found" if dry_run else "left", left)


def objects(
    prefix: Annotated[str, typer.Argument(help="s3://bucket/prefix")],
    queue_url: _QueueUrl,
    since: Annotated[str | None, typer.Option(help="Only objects that are not older than this, e.g. 30d.")] = None,
    config: Annotated[Path | None, typer.Option(help="Take the owners of buckets from this configuration file.")] = None,
    dry_run: _DryRun = False,
) -> None:
    """Notify the detector of objects that were in S3 before the monitor, or whose notifications were lost."""
    from driftsonde.core.aws.objects import S3Objects
    from driftsonde.core.aws.queue import SqsQueue
    from driftsonde.core.aws.session import aws_client
    from driftsonde.core.config import load_config
    from driftsonde.core.replaying import replay_objects

    bucket, _, path = prefix.removeprefix("s3://").partition("/")
    if not prefix.startswith("s3://") or not bucket:
        raise ConfigError(f"{prefix!r} is no place in S3; expected s3://bucket/prefix")
    start, owners = _before(since), load_config(config).bucket_owners if config else {}

    async def run(progress: Callable[[], None]) -> int:
        async with aws_client("s3") as s3, aws_client("sqs") as sqs:
            listed = S3Objects(s3, owners=owners).list(bucket, path)
            return await replay_objects(listed, bucket, None if dry_run else SqsQueue(sqs, queue_url), since=start, progress=progress)

    with _counting("objects") as progress:
        count = asyncio.run(run(progress))
    print(f"{count} objects {'found' if dry_run else 'announced'}")


def events(
    database_url: Annotated[str, typer.Option(envvar="DRIFTSONDE_DATABASE_URL", help="State of the service whose events these are.")],
    since: Annotated[str, typer.Option(help="How far back, e.g. 24h; at most 30d are kept.")] = "24h",
    monitor: Annotated[str | None, typer.Option(help="Only events of this monitor.")] = None,
) -> None:
    """Publish events again that a broker may have lost; a running service does it within a second."""
    from sqlalchemy import MetaData

    from driftsonde.core.lifecycle import SystemClock
    from driftsonde.core.store.outbox import Outbox, inbox_table, outbox_table

    start, metadata = _before(since), MetaData()
    with _state(database_url, "outbox") as database, database.write() as connection:
        outbox = Outbox(database, outbox_table(metadata), inbox_table(metadata), SystemClock())
        count = outbox.publish_again(connection, start or datetime.now(UTC), monitor)
    print(f"{count} events will be published again")


def windows(
    database_url: Annotated[str, typer.Option(envvar="DRIFTSONDE_DATABASE_URL", help="State of the detector.")],
    monitor: Annotated[str, typer.Option(help="The monitor whose windows these are.")],
    since: Annotated[
        str | None, typer.Option(help="Only windows that began so long ago or later, e.g. 24h; by rows: that were begun.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="This window and those after it; default: all that were judged.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many, and change nothing.")] = False,
) -> None:
    """Have windows judged again from what is stored, e.g. after a change of policy; a running detector does it within seconds.

    Start the detector anew first: it reads its policy at start. A changed verdict is announced as `verdict.revised`.
    """
    # The statements are the detector's, taken from its package as `driftsonde detector` is: core reads no service's tables, and the
    # detector's API, which asks nobody who he is, must go on changing nothing.
    from driftsonde.core.cli import service_module

    if since is not None and first is not None:
        raise typer.BadParameter("give either --since or --from")
    again, start = service_module("detector", "again"), _before(since)
    with _state(database_url, "windows") as database, database.write() as connection:
        found = again.judged_windows(connection, monitor, since=start, first=first)
        if not dry_run:
            again.judge_again(database, connection, monitor, found)
    print(f"{len(found)} windows {'found' if dry_run else 'will be judged again'}")


@contextmanager
def _state(url: str, what: str) -> Iterator[Database]:
    """Open a service's state.

    Raises:
        ConfigError: if it is not there, or another's.
    """
    from sqlalchemy.exc import DBAPIError

    from driftsonde.core.store.engine import Database

    database = Database(url)
    try:
        yield database
    except DBAPIError as exc:
        raise ConfigError(f"database_url: no {what} to read: {exc.orig}; expected the state of a service") from exc
    finally:
        database.close()


def _before(since: str | None) -> datetime | None:
    from driftsonde.core.config import parse_duration

    if since is None:
        return None
    try:
        ago = parse_duration(since)
    except ValueError as exc:
        raise ConfigError(f"--since {since!r}: {exc}") from exc
    if not isinstance(ago, timedelta):
        raise ConfigError(f"--since {since!r} is no duration; expected e.g. 90s, 24h or 30d")
    return datetime.now(UTC) - ago


def _say(what: str, counts: Counter[str]) -> None:
    parts = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    print(f"{counts.total()} {what}{f': {parts}' if parts else ''}")


@contextmanager
def _counting(what: str) -> Iterator[Callable[[], None]]:
    """Show how many were sent, where people look; how many there are is not known beforehand."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = SpinnerColumn(), TextColumn("{task.completed:.0f} " + what)
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda: bar.advance(task)
