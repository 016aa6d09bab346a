"""What a report is made of, asked of the detector's read API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import quote

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.events import Alarm, Event
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.table import TableSketch
from driftsonde.core.verifying import Stored, unusable_because


class Source(Protocol):
    """What answers; `cli.remote.Detector` does."""

    def monitor(self, name: str) -> dict[str, Any]:
        """Return what is said of a monitor."""
        ...

    def windows(self, monitor: str) -> list[dict[str, Any]]:
        """Return what is said of its windows, in order."""
        ...

    def timeline(self, monitor: str) -> list[Event]:
        """Return its events, as they were heard."""
        ...

    def baseline(self, monitor: str, version: int) -> FrozenBaseline:
        """Return a frozen baseline."""
        ...

    def lookback(self, link: str, baseline: FrozenBaseline) -> list[TableSketch]:
        """Return windows' counts, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a report is made of.

    Args:
        monitor: what the read API says of it; `windows` and `events` likewise, all of them.
        window: the window that is reported on.
        version: of the baseline it was measured against.
        opening: the event that opened the episode; None for a report on a window.
        baseline: None where it is not stored any more.
        tables: the look-back, oldest first, the window last; empty where it is not what was judged, and `lost` says why.
    """

    monitor: dict[str, Any]
    windows: Sequence[dict[str, Any]]
    events: Sequence[Event]
    window: str
    version: int
    opening: Event | None = None
    baseline: FrozenBaseline | None = None
    tables: Sequence[TableSketch] = ()
    lost: str = ""

    @property
    def alarm(self) -> Alarm | None:
        """What the opening event says."""
        data = self.opening.data if self.opening else None
        return data if isinstance(data, Alarm) else None


def gather_episode(source: Source, monitor: str, number: int) -> Material:
    """Ask for an episode.

    Raises:
        DriftsondeError: if the detector does not answer, or has not heard of it.
    """
    known = source.monitor(monitor)
    events = source.timeline(monitor)
    alarms = [event for event in events if isinstance(event.data, Alarm)]
    opening = next((event for event in alarms if event.data.episode == number), None)
    if opening is None or not isinstance(opening.data, Alarm):
        there = ", ".join(str(event.data.episode) for event in alarms)
        raise DriftsondeError(f"the timeline of {monitor} has no episode {number}; it has: {there or 'none'}")
    alarm = opening.data
    material = Material(known, source.windows(monitor), events, alarm.window.id, alarm.baseline.version, opening)
    try:
        baseline = source.baseline(monitor, alarm.baseline.version)
    except DriftsondeError as exc:
        return replace(material, lost=f"the baseline is not stored any more: {exc}")
    try:
        tables = source.lookback(alarm.sketches.link, baseline) if alarm.sketches else []
    except DriftsondeError as exc:
        return replace(material, baseline=baseline, lost=f"the windows are not stored any more: {exc}")
    lost = unusable_because(alarm, Stored(baseline, tables)) if tables else "the event does not say where its windows are"
    if baseline.digest != alarm.baseline.digest:
        return replace(material, lost=lost)
    return replace(material, baseline=baseline, tables=() if lost else tables, lost=lost)


def gather_window(source: Source, monitor: str, window: str) -> Material:
    """Ask for a window, with the look-back that it is judged with.

    Raises:
        DriftsondeError: if the detector does not answer, or does not keep the window's counts.
    """
    known, windows = source.monitor(monitor), source.windows(monitor)
    found = next((item for item in windows if item["id"] == window), None)
    if found is None:
        newest = windows[-1]["id"] if windows else "none"
        raise DriftsondeError(f"monitor {monitor} has no window {window!r}; the newest is {newest}")
    baseline = source.baseline(monitor, found["baseline"])
    link = f"/api/monitors/{monitor}/sketches?window={quote(window, safe='')}&lookback={known['policy']['lookback']}"
    tables = source.lookback(link, baseline)
    if not tables:
        raise DriftsondeError(f"window {window!r} has no counts: its drops were taken away")
    return Material(known, windows, source.timeline(monitor), window, found["baseline"], baseline=baseline, tables=tables)
