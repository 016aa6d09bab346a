"""From verdicts in window order to episodes: what is announced, and what is closed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from driftsonde.core.events import MAX_DROPS, DriftConfirmed, DriftResolved, DropRef
from driftsonde.core.monitoring.episode import Closed, Opened, Stored, find_spans, is_confirmed, reconcile
from driftsonde.detector import store
from driftsonde.detector.baselines import reference
from driftsonde.detector.facts import announce
from driftsonde.detector.judging import Pass


def announce_changes(done: Pass) -> list[str]:
    """Bring the stored episodes into line with the verdicts of a pass; returns the kinds that were opened.

    Numbers run on over baseline versions. A version that is no longer in force closes what is open, and opens nothing.
    """
    table, monitor = store.episode, done.monitor
    rows = done.connection.execute(
        select(table.c.number, table.c.kind, table.c.opened, table.c.is_open, table.c.baseline)
        .where(table.c.monitor == monitor.name)
        .order_by(table.c.number)
    ).all()
    listed = {judged.window for judged in done.words}
    stored = [
        Stored(row.number, row.kind, row.opened, row.is_open)
        for row in rows
        if row.baseline == done.version and (row.is_open or row.opened in listed)
    ]
    last = max((row.number for row in rows), default=0)
    in_force = store.current_baseline(done.connection, monitor.name) == done.version
    opened: list[str] = []
    for change in reconcile(find_spans(done.words, clear_after=monitor.policy.clear_after), stored, last=last):
        if not in_force and change.number > last:
            continue
        if isinstance(change, Closed):
            _close(done, change)
        else:
            _open(done, change)
            opened.append(change.span.kind)
    _confirm(done)
    return opened


def _confirm(done: Pass) -> None:
    """Say of each open episode of drift that it goes on, where the monitor asks for it; the outbox knows what it has said."""
    policy = done.monitor.retrain.confirm if done.monitor.retrain else None
    if policy is None:
        return
    table = store.episode
    mine = (table.c.monitor == done.monitor.name, table.c.baseline == done.version, table.c.kind == "drift", table.c.is_open)
    for row in done.connection.execute(select(table.c.number, table.c.opened).where(*mine)):
        if is_confirmed(done.words, row.opened, windows=policy.windows, of=policy.of):
            done.outbox.add(done.connection, [DriftConfirmed(monitor=done.monitor.name, episode=row.number)], traceparent=done.trace())


def _close(done: Pass, change: Closed) -> None:
    table = store.episode
    here = (table.c.monitor == done.monitor.name, table.c.number == change.number)
    done.connection.execute(table.update().where(*here).values(is_open=False, cause=change.cause, closed_at=done.now))
    fact = DriftResolved(monitor=done.monitor.name, episode=change.number, sequence=2, kind=change.kind, cause=change.cause)
    done.outbox.add(done.connection, [fact], traceparent=done.trace())


def _open(done: Pass, change: Opened) -> None:
    judged = done.again(change.span.opened)
    fact = announce(
        done.monitor.name, change.number, judged.verdict, judged.window, done.baseline,
        reference(done.connection, done.monitor.name, done.version), done.sketches(judged.history), _drops(done, judged.history),
        done.parameters, usual=[table.rows for table in done.sketches(judged.history[:-1])],
    )  # fmt: skip
    (event_id,) = done.outbox.add(done.connection, [fact], traceparent=done.trace(change.span.opened))
    done.connection.execute(
        store.episode.insert().values(
            monitor=done.monitor.name, number=change.number, kind=change.span.kind, baseline=done.version, opened=change.span.opened,
            is_open=True, event_id=event_id, summary=fact.summary, opened_at=done.now,
        )
    )  # fmt: skip


def _drops(done: Pass, windows: Sequence[str]) -> list[DropRef]:
    """Return the drops of the look-back, oldest first, the newest that fit into an event."""
    table = store.part
    columns = (table.c.window, table.c.bucket, table.c.key, table.c.version, table.c.etag, table.c.rows)
    order = {window: place for place, window in enumerate(windows)}
    mine = (table.c.monitor == done.monitor.name, table.c.window.in_(windows), table.c.rows > 0)
    rows = done.connection.execute(select(*columns).where(*mine)).all()
    unique = {(row.bucket, row.key): row for row in sorted(rows, key=lambda row: (order[row.window], row.bucket, row.key))}
    return [
        DropRef(bucket=row.bucket, key=row.key, version=row.version, etag=row.etag, rows=row.rows)
        for row in list(unique.values())[-MAX_DROPS:]
    ]
