"""`driftsonde status`: what the detector knows."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.text import clean

DetectorUrl = Annotated[str, typer.Option("--url", envvar="DRIFTSONDE_URL", help="Where the detector answers.")]
LOCAL = "http://127.0.0.1:8080"


def status(
    url: DetectorUrl = LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="What the read API says, as it is.")] = False,
) -> None:
    """Show monitors, their baselines, drops and episodes."""
    monitors = fetch(url, "/api/monitors")
    if as_json:
        print(json.dumps(monitors, indent=2))
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(emoji=False)
    for monitor in monitors:
        console.print(f"[bold]{monitor['name']}[/bold]  baseline {escape(clean(baseline_of(monitor), 600))}", highlight=False)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(monitor["drops"].items())) or "none yet"
        console.print(f"  drops: {counts}", highlight=False)
        for episode in monitor["episodes"]:
            state = "[red]open[/red]" if episode["open"] else f"closed ({episode['cause']})"
            console.print(
                f"  episode {episode['number']} {episode['kind']}: {state}  {escape(clean(episode['summary'], 600))}", highlight=False
            )


def fetch(url: str, path: str) -> Any:
    """Get JSON from the detector's read API.

    Raises:
        DriftsondeError: if it does not answer; the message says where to look.
    """
    import httpx

    try:
        answer = httpx.get(url.rstrip("/") + path, timeout=10)
        answer.raise_for_status()
    except httpx.HTTPError as exc:
        raise DriftsondeError(f"the detector does not answer at {url}: {exc}; --url or DRIFTSONDE_URL says where it is") from exc
    return answer.json()


def baseline_of(monitor: dict[str, Any]) -> str:
    """Say which baseline a monitor has, or how far it is on the way to one."""
    if monitor["baseline"]:
        return f"v{monitor['baseline']['version']}, {monitor['baseline']['rows']:,} rows"
    building = monitor["building"] or {}
    learning = building.get("learning")
    state = f"learning {learning['known']} of {learning['of']}" if learning else "building"
    return f"{state}: {building['error']}" if building.get("error") else state
