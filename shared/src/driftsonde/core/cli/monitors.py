"""`driftsonde monitors list`: what is configured, and what the detector knows of it."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftsonde.core.cli.status import LOCAL, DetectorUrl, baseline_of, fetch
from driftsonde.core.config import Monitor, RowsWindow, TimeWindow, load_config
from driftsonde.core.errors import POISON_REASONS, DriftsondeError
from driftsonde.core.text import clean

if TYPE_CHECKING:
    from rich.text import Text

_COLOURS = {"drift": "red", "untrusted": "red", "warning": "yellow", "ok": "green"}
_TITLES = ("monitor", "drops", "baseline", "window", "newest verdict", "counted / pending / dead", "open episode", "recipe", "channels")
_UNITS = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
_WIDE = 10_000  # characters: a line for a program is not broken


def list_(
    config: Annotated[Path, typer.Option(envvar="DRIFTSONDE_CONFIG", help="The configuration file.")] = Path("driftsonde.yaml"),
    url: DetectorUrl = LOCAL,
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON; `detector` is what the read API says, null if it is not known.")
    ] = False,
) -> None:
    """List the configured monitors, and what became of their drops, if the detector answers."""
    monitors = load_config(config).monitors
    try:
        known = {monitor["name"]: monitor for monitor in fetch(url, "/api/monitors")}
    except DriftsondeError as exc:  # what is configured is worth a look all the same
        print(f"driftsonde: {clean(str(exc), 600)}", file=sys.stderr)
        known = {}
    if as_json:
        print(json.dumps([_entry(monitor, known.get(monitor.name)) for monitor in monitors], indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(emoji=False) if sys.stdout.isatty() else Console(emoji=False, width=_WIDE)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in _TITLES:
        table.add_column(title, overflow="fold")
    for monitor in monitors:
        told = ", ".join(monitor.notify) or "-"
        recipe = monitor.retrain.recipe if monitor.retrain else "-"
        cells = _known(known[monitor.name]) if monitor.name in known else [Text(clean(_configured(monitor), 1100)), *[Text("?")] * 3]
        table.add_row(
            Text(monitor.name, "bold"), Text(clean(monitor.drops, 1100)), cells[0], Text(_window(monitor)), *cells[1:], recipe, told
        )  # fmt: skip
    console.print(table)


def _entry(monitor: Monitor, known: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "name": monitor.name, "drops": monitor.drops, "window": monitor.window.model_dump(mode="json"),
        "baseline": monitor.baseline.model_dump(mode="json", exclude_none=True),
        "recipe": monitor.retrain.recipe if monitor.retrain else None, "channels": list(monitor.notify), "detector": known,
    }  # fmt: skip


def _known(monitor: dict[str, Any]) -> list[Text]:
    """Return what the detector knows: baseline, newest verdict, drops, open episodes."""
    from rich.text import Text

    latest, drops = monitor["latest"], monitor["drops"]
    verdict = Text("-")
    if latest:
        at = f"{datetime.fromisoformat(latest['judged_at']):%Y-%m-%d %H:%M}" if latest["judged_at"] else "?"
        verdict = Text.assemble((latest["verdict"], _COLOURS.get(latest["verdict"], "")), f" {at}")
    dead = sum(drops.get(reason, 0) for reason in POISON_REASONS)
    episodes = [f"{episode['number']} {episode['kind']}" for episode in monitor["episodes"] if episode["open"]]
    counts = f"{drops.get('counted', 0)} / {drops.get('pending', 0)} / {dead}"
    return [Text(clean(baseline_of(monitor), 600)), verdict, Text(counts), Text(", ".join(episodes) or "-", "red" if episodes else "")]


def _configured(monitor: Monitor) -> str:
    return monitor.baseline.uri or f"learn {monitor.baseline.learn}"


def _window(monitor: Monitor) -> str:
    window = monitor.window
    if isinstance(window, RowsWindow):
        return f"{window.size:,} rows"
    if isinstance(window, TimeWindow):
        unit = next((unit for unit, length in _UNITS.items() if not window.size % length), None)
        return f"{window.size // _UNITS[unit]}{unit}" if unit else f"{window.size.total_seconds():g}s"
    return "object"
