"""The operating curve as a picture: SVG without a library, readable on its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from driftsonde.core.monitoring.replay import Point

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
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="system-ui, sans-serif" font-size="12" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="28" font-size="15" font-weight="600">{escape(title)}</text>',
        *_panel(points, shares, _TOP, "alarms per 100 windows", _ALARMS, present),
        *_panel(points, counts, _TOP + _PANEL + _GAP, "episodes (messages)", _EPISODES, present),
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{height - 12}" text-anchor="middle">distance threshold (ks, tv)</text>',
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def _panel(points: Sequence[Point], values: Sequence[float], top: int, title: str, color: str, present: float) -> list[str]:
    bottom, most = top + _PANEL, _round_up(max(values, default=0.0))
    places = [(_x(points, point.distance), bottom - _PANEL * value / most) for point, value in zip(points, values, strict=True)]
    out = [f'<text x="{_LEFT}" y="{top - 10}" font-weight="600" fill="{color}">{title}</text>']
    for part in range(3):
        y = bottom - _PANEL * part / 2
        out.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_FAINT}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most * part / 2:g}</text>')
    if points[0].distance <= present <= points[-1].distance:
        x = _x(points, present)
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{_MARK}" stroke-dasharray="4 4"/>')
        out.append(f'<text x="{x + 4:.1f}" y="{top + 12}" fill="{_MARK}">today {present:g}</text>')
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
    for (x, y), point, value in zip(places, points, values, strict=True):
        label = escape(f"threshold {point.distance:g}: {value:.3g} {title}")
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"><title>{label}</title></circle>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{point.distance:g}</text>')
    return out


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
