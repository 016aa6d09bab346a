"""The detector's own store as what a report asks (`core.report.gather.Source`)."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Connection, select

from driftsonde.core.config import Config
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.events import Event
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.report.gather import Material, gather_episode, gather_window
from driftsonde.core.sketch.codec import SketchError, decode_table
from driftsonde.core.sketch.table import TableSketch
from driftsonde.detector import store
from driftsonde.detector.console.asked import parsed
from driftsonde.detector.readapi import describe_monitor, describe_windows
from driftsonde.detector.stored import baseline_bytes, lookback_of

_MOST_EVENTS: Final = 2_000


class Missing(DriftsondeError):
    """What was asked for is not stored."""


class StoreSource:
    """Answers what the read API would, within one look at the database; of events only what a report can need.

    Args:
        window: the one that the report is on: what was found in the others is not read.
        episode: the number of the one that the report is on, if it is on one.
    """

    def __init__(self, connection: Connection, config: Config, window: str, episode: int | None) -> None:
        self._connection, self._config, self._window, self._episode = connection, config, window, episode

    def monitor(self, name: str) -> dict[str, Any]:
        """Return what is said of a monitor."""
        found = self._config.monitor(name)
        if found is None:
            raise Missing(f"there is no monitor {name!r}")
        return describe_monitor(self._connection, found)

    def windows(self, monitor: str) -> list[dict[str, Any]]:
        """Return what is said of its windows, in order."""
        return describe_windows(self._connection, monitor, detailed=[self._window])

    def timeline(self, monitor: str) -> list[Event]:
        """Return the events that a report can show: the latest of them, in the order in which they were heard."""
        table = store.timeline
        wanted = [table.c.monitor == monitor]
        if self._episode is None:
            wanted.append(table.c.type != "drop.rejected")
        else:
            wanted.append((table.c.episode == self._episode) | table.c.type.in_(["baseline.adopted", "drop.rejected"]))
        statement = select(table.c.body).where(*wanted).order_by(table.c.id.desc()).limit(_MOST_EVENTS)
        return list(parsed(reversed(self._connection.scalars(statement).all())))

    def baseline(self, monitor: str, version: int) -> FrozenBaseline:
        """Return a frozen baseline."""
        data = baseline_bytes(self._connection, monitor, version)
        if data is None:
            raise Missing(f"monitor {monitor} has no baseline {version}")
        try:
            return FrozenBaseline.from_bytes(data)
        except SketchError as exc:
            raise Missing(f"baseline {version} of {monitor} cannot be read: {exc}") from exc

    def lookback(self, link: str, baseline: FrozenBaseline) -> list[TableSketch]:
        """Return windows' counts, oldest first."""
        parts = urlsplit(link)
        asked = parse_qs(parts.query)
        try:
            monitor = parts.path.removeprefix("/api/monitors/").removesuffix("/sketches")
            window, most = asked["window"][0], int(asked["lookback"][0])
        except (KeyError, ValueError) as exc:
            raise Missing("the event does not say where its windows are") from exc
        try:
            found = lookback_of(self._connection, monitor, window, most)
            if found is None:
                raise Missing("the window is not stored any more")
            return [decode_table(b64decode(one["sketch"]), baseline.layout) for one in found["windows"] if one["sketch"] is not None]
        except SketchError as exc:
            raise Missing(f"a window cannot be read: {exc}") from exc


def material_of_episode(connection: Connection, config: Config, monitor: str, number: int) -> Material:
    """Read what the report on an episode is made of.

    Raises:
        Missing: if there is no such episode.
        DriftsondeError: if it was not announced yet.
    """
    table = store.episode
    opened = connection.scalar(select(table.c.opened).where(table.c.monitor == monitor, table.c.number == number))
    if opened is None:
        raise Missing(f"monitor {monitor} has no episode {number}")
    return gather_episode(StoreSource(connection, config, opened, number), monitor, number)


def material_of_window(connection: Connection, config: Config, monitor: str, window: str) -> Material:
    """Read what the report on a window is made of.

    Raises:
        DriftsondeError: if there is no such window, or it has no counts.
    """
    row = store.window_row(connection, monitor, window)
    if row is None or row.baseline is None:
        raise Missing(f"monitor {monitor} has no window {window!r}")
    return gather_window(StoreSource(connection, config, window, None), monitor, window)
