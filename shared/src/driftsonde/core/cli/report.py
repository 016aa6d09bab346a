"""`driftsonde report`: an episode or a window as one HTML file."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from driftsonde.core.cli.status import LOCAL, DetectorUrl
from driftsonde.core.errors import DriftsondeError

_EPISODE = re.compile(r"([a-z0-9-]{1,32})/([1-9][0-9]{0,8})")


def report(
    episode: Annotated[str | None, typer.Option("--episode", "-e", help="An episode as MONITOR/NUMBER, e.g. churn/7.")] = None,
    window: Annotated[str | None, typer.Option("--window", "-w", help="A window's id, in place of an episode.")] = None,
    monitor: Annotated[str | None, typer.Option("--monitor", "-m", help="The window's monitor.")] = None,
    url: DetectorUrl = LOCAL,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; default: standard output.")] = None,
) -> None:
    """Write what is known of an episode, or of one window, as an HTML file that needs nothing else.

    A window is judged again from its stored counts under today's policy. Exit code 0 when it was written, whatever it says.
    """
    if (episode is None) == (window is None) or (window is None) != (monitor is None):
        raise typer.BadParameter("give either --episode, or --window and --monitor")
    page = episode_page(url, *named_episode(episode)) if episode is not None else window_page(url, monitor or "", window or "")
    if out is None:
        typer.echo(page, nl=False)
        return
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise DriftsondeError(f"cannot write {out}: {exc.strerror}") from exc


def named_episode(text: str) -> tuple[str, int]:
    """Read MONITOR/NUMBER.

    Raises:
        typer.BadParameter: if it is anything else.
    """
    named = _EPISODE.fullmatch(text)
    if named is None:
        raise typer.BadParameter(f"{text!r}: expected MONITOR/NUMBER, e.g. churn/7")
    return named[1], int(named[2])


def episode_page(url: str, monitor: str, number: int) -> str:
    """Return the report on an episode.

    Raises:
        DriftsondeError: if the detector does not answer, or has not heard of it.
    """
    from driftsonde.core.cli.remote import Detector
    from driftsonde.core.report.compose import compose
    from driftsonde.core.report.gather import gather_episode
    from driftsonde.core.report.page import render

    with Detector(url) as detector:
        material = gather_episode(detector, monitor, number)
    return render(compose(material), made=datetime.now(UTC))


def window_page(url: str, monitor: str, window: str) -> str:
    """Return the report on a window.

    Raises:
        DriftsondeError: if the detector does not answer, or does not keep the window's counts.
    """
    from driftsonde.core.cli.remote import Detector
    from driftsonde.core.report.compose import compose
    from driftsonde.core.report.gather import gather_window
    from driftsonde.core.report.page import render

    with Detector(url) as detector:
        material = gather_window(detector, monitor, window)
    return render(compose(material), made=datetime.now(UTC))
