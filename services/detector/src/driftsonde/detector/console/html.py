"""The console's pages as text, and the headers that they are served with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from jinja2 import Environment

from driftsonde.core.look import environment, style, style_source

_OURS: Final = style("console.css", __package__)


def headers() -> Mapping[str, str]:
    """Return what every page says to the browser: run nothing, load nothing, send nothing, and be in nobody's frame."""
    styles = " ".join(style_source(sheet) for sheet in (style(), _OURS))
    return {
        # img-src: an empty icon, or else the browser asks for one.
        "Content-Security-Policy": (
            f"default-src 'none'; style-src {styles}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def written(template: str, **values: Any) -> str:
    """Return a page."""
    return _templates().get_template(f"{template}.html.j2").render(**values)


@cache
def _templates() -> Environment:
    made = environment(__package__)
    made.globals["console_style"] = _OURS
    return made
