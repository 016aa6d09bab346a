"""The operating curve as a picture: SVG without a library, readable on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from driftsonde.core.monitoring.replay import Point
from driftsonde.core.svg import NAMESPACE, path, tag

_WIDTH, _LEFT, _RIGHT = 720, 64, 24
_TOP, _PANEL, _GAP = 64, 150, 56
_INK, _FAINT, _ALARMS, _EPISODES, _MARK = "#1f2328", "#d0d7de", "#0969da", "#bc4c00", "#57606a"


def draw(points: Sequence[Point], title: str, present: float) -> str:
    """Return two panels above one axis, the distance threshold: alarms per window, and episodes.

    Args:
        present: the threshold of today's policy; it is marked.
    """
    height = _TOP + 2 * _PANEL + _GAP + 56
    shares = [100 * point.bill.alarms / max(point.bill.windows, 1) for point in points]
    counts = [float(point.bill.messages) for point in points]
    return (
        tag(
            "svg",
            tag("rect", width=_WIDTH, height=height, fill="#ffffff"),
            tag("text", title, x=_LEFT, y=28, font_size=15, font_weight="600"),
            *_panel(points, shares, _TOP, "alarms per 100 windows", _ALARMS, present),
            *_panel(points, counts, _TOP + _PANEL + _GAP, "episodes (messages)", _EPISODES, present),
            tag("text", "distance threshold (ks, tv)", x=(_LEFT + _WIDTH - _RIGHT) / 2, y=height - 12, text_anchor="middle"),
            xmlns=NAMESPACE, viewBox=f"0 0 {_WIDTH} {height}", font_family="system-ui, sans-serif", font_size=12, fill=_INK,
        )
        + "\n"
    )  # fmt: skip


def _panel(points: Sequence[Point], values: Sequence[float], top: int, title: str, color: str, present: float) -> Iterator[Markup]:
    bottom, most = top + _PANEL, _round_up(max(values, default=0.0))
    places = [(_x(points, point.distance), bottom - _PANEL * value / most) for point, value in zip(points, values, strict=True)]
    yield tag("text", title, x=_LEFT, y=top - 10, font_weight="600", fill=color)
    for part in range(3):
        y = bottom - _PANEL * part / 2
        yield tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, stroke=_FAINT)
        yield tag("text", f"{most * part / 2:g}", x=_LEFT - 8, y=y + 4, text_anchor="end")
    if points[0].distance <= present <= points[-1].distance:
        x = _x(points, present)
        yield tag("line", x1=x, x2=x, y1=top, y2=bottom, stroke=_MARK, stroke_dasharray="4 4")
        yield tag("text", f"today {present:g}", x=x + 4, y=top + 12, fill=_MARK)
    yield tag("polyline", points=path(places), fill="none", stroke=color, stroke_width=2)
    for (x, y), point, value in zip(places, points, values, strict=True):
        label = tag("title", f"threshold {point.distance:g}: {value:.3g} {title}")
        yield tag("circle", label, cx=x, cy=y, r=4, fill=color)
        yield tag("text", f"{point.distance:g}", x=x, y=bottom + 16, text_anchor="middle")


def _x(points: Sequence[Point], distance: float) -> float:
    low, high = points[0].distance, points[-1].distance
    return _LEFT + 16 + (_WIDTH - _RIGHT - _LEFT - 32) * (distance - low) / max(high - low, 1e-9)


def _round_up(value: float) -> float:
    """Return the end of an axis: 2, 4 or 10 times a power of ten, at least 2."""
    scale = 1.0
    while True:
        for step in (2.0, 4.0, 10.0):
            if value <= step * scale:
                return step * scale
        scale *= 10
