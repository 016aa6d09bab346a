"""SVG by hand: elements as text, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

NAMESPACE = "http://www.w3.org/2000/svg"


def tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """Return an element; text is escaped, other elements (`Markup`) are taken as they are.

    Args:
        attributes: `_` stands for `-`, and a trailing one is dropped (`class_`); numbers are rounded to a tenth.
    """
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"' for key, value in attributes.items())
    inner = "".join(map(escape, content))
    return Markup(f"<{name}{written}>{inner}</{name}>" if content else f"<{name}{written}/>")


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return points as a polyline takes them; those within half a unit of the one before are left out, but not the last."""
    found: list[tuple[float, float]] = []
    for place, (x, y) in enumerate(points):
        near = found and abs(x - found[-1][0]) < 0.5 and abs(y - found[-1][1]) < 0.5
        if not near or place == len(points) - 1:
            found.append((x, y))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in found)


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
