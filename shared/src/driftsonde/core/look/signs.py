"""The sign of each verdict: told apart by shape as well as by colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from driftsonde.core.svg import NAMESPACE, tag

if TYPE_CHECKING:
    from driftsonde.core.report.model import Mark

_SHAPES: Final[dict[str, Callable[[], Markup]]] = {
    "ok": lambda: tag("circle", cx=11, cy=11, r=5, class_="ok"),
    "warning": lambda: tag("path", d="M11 4 L18.5 17.5 L3.5 17.5 Z", class_="warning"),
    "drift": lambda: tag("path", d="M11 2 L20 11 L11 20 L2 11 Z", class_="drift"),
    "untrusted": lambda: tag("path", d="M5 5 L17 17 M17 5 L5 17", class_="untrusted"),
    "insufficient": lambda: tag("circle", cx=11, cy=11, r=5, class_="insufficient"),
    "unjudged": lambda: tag("path", d="M5 11 L17 11", class_="insufficient"),
}


def sign(word: str) -> Markup:
    """Draw the sign of a verdict; what it means stands beside it as text."""
    return tag("svg", _SHAPES[word](), xmlns=NAMESPACE, viewBox="0 0 22 22", class_="sign", aria_hidden="true")


def said_of(mark: Mark) -> str:
    """Say what a mark of the strip means."""
    inside = f", episode {', '.join(map(str, mark.episodes))}" if mark.episodes else ""
    return f"{mark.when or mark.name}: {mark.word}{inside}{', the window of this report' if mark.subject else ''}"
