"""The pictures of a report, as SVG. Two sides are told apart by pattern and line style as well as by colour.

Colours are classes of the page's style sheet: `was` is the baseline (hatched, dashed), `now` the window (plain, solid).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from markupsafe import Markup

from driftsonde.core.report.model import Categories, Numbers, PsiGroup
from driftsonde.core.report.scales import View, beyond, cumulated, largest_gap, pieces, short, ticks, values, view_of
from driftsonde.core.svg import NAMESPACE, path, tag

_WIDTH, _LEFT, _RIGHT = 400.0, 44.0, 356.0
_TOP, _BOTTOM, _HEIGHT = 34.0, 190.0, 222.0
_LABEL, _BARS, _VALUE = 122.0, 130.0, 268.0  # of pictures in rows: end of the label, begin of the bar, begin of the number
_LETTERS = 18


def density(numbers: Numbers, name: str) -> Markup:
    """Draw both distributions of a numeric column over each other."""
    found = values(numbers)
    if found is not None:
        return _few_values(numbers, found, name)
    view = view_of(numbers)
    drawn = pieces(numbers, view)
    highest = max((piece.height(max(piece.before, piece.now)) for piece in drawn), default=0.0) or 1.0

    def steps(side: int) -> list[tuple[float, float]]:
        found = [(_LEFT, _BOTTOM)]
        for piece in drawn:
            y = _y(piece.height(piece.now if side else piece.before) / highest)
            found += [(_x(piece.begin), y), (_x(piece.end), y)]
        return [*found, (_RIGHT, _BOTTOM)]

    below, above = beyond(numbers, view)
    said = f"Equal areas are equal shares of rows. Below {short(view.low)}: {_change(*below)}; above {short(view.high)}: {_change(*above)}."
    return _figure(
        f"Distribution of {name}, baseline and window", said, _HEIGHT,
        *_legend(), *_axis(view),
        tag("polygon", points=path(steps(0)), class_="was area"), tag("polygon", points=path(steps(1)), class_="now area"),
        *_ends(view, below, above),
    )  # fmt: skip


def distribution_functions(numbers: Numbers, name: str) -> Markup:
    """Draw both cumulated distributions of a numeric column, and the largest gap between them."""
    view, gap = view_of(numbers), largest_gap(numbers)
    lines = []
    for counts, class_ in ((numbers.before, "was line"), (numbers.now, "now line")):
        shares = cumulated(counts)
        points = [
            (_x(view.place(edge)), _y(share)) for edge, share in zip(view.edges, shares, strict=False) if view.low <= edge <= view.high
        ]
        lines.append(tag("polyline", points=path([*points, (_RIGHT, points[-1][1])]), class_=class_))
    x, ends = _x(view.place(gap.at)), sorted((_y(gap.before), _y(gap.now)))
    right = x < (_LEFT + _RIGHT) / 2
    marked = f"KS {gap.size:.3f} at {short(gap.at)}"
    y = min(max((ends[0] + ends[1]) / 2 + 4, _TOP + 12), _BOTTOM - 6)
    return _figure(
        f"Cumulated distributions of {name}; the largest gap is {gap.size:.3f}",
        f"At {gap.at:.6g} the share of rows at or below is {_change(gap.before, gap.now)}.", _HEIGHT,
        *_legend(lines=True), *_grid(), *_axis(view), *lines, *_shares_labels(1.0),
        tag("path", d=f"M{x:.1f} {ends[0]:.1f} V{ends[1]:.1f} M{x - 5:.1f} {ends[0]:.1f} h10 M{x - 5:.1f} {ends[1]:.1f} h10", class_="gap"),
        tag("text", marked, x=x + 9 if right else x - 9, y=y, text_anchor="start" if right else "end", class_="strong halo"),
    )  # fmt: skip


def category_bars(categories: Categories, name: str) -> Markup:
    """Draw the shares of both sides, category by category."""
    most = max(*categories.before, *categories.now, 1e-9)
    body: list[Markup] = []
    for row, (label, before, now) in enumerate(zip(categories.labels, categories.before, categories.now, strict=True)):
        y = _TOP + 30 * row
        body += [
            _row_label(label, y + 15),
            tag("rect", x=_BARS, y=y + 1, width=_VALUE * 0.48 * before / most, height=10, class_="was area"),
            tag("rect", x=_BARS, y=y + 13, width=_VALUE * 0.48 * now / most, height=10, class_="now area"),
            tag("text", f"{_percent(before)} → {_percent(now)}", x=_VALUE, y=y + 16),
        ]
    return _figure(
        f"Shares of the categories of {name}, baseline and window", "", _TOP + 30 * len(categories.labels) + 4, *_legend(), *body
    )


def psi_bars(groups: Sequence[PsiGroup], name: str) -> Markup:
    """Draw what each group adds to the population stability index."""
    most = max((group.term for group in groups), default=0.0) or 1.0
    body: list[Markup] = []
    for row, group in enumerate(groups):
        y = 8 + 20.0 * row
        arrow = "↑" if group.now > group.before else "↓" if group.now < group.before else "="
        body += [
            _row_label(group.label, y + 12),
            tag("rect", x=_BARS, y=y + 2, width=max(0.0, 76 * group.term / most), height=12, class_="plain"),
            tag("text", f"{group.term:.3f} {arrow} {_percent(group.before)} → {_percent(group.now)}", x=_BARS + 82, y=y + 12),
        ]
    total = sum(group.term for group in groups)
    return _figure(
        f"What each part of {name} adds to its PSI", f"Together {total:.3f}, before the bias is taken away.", 20.0 * len(groups) + 14, *body
    )


def _few_values(numbers: Numbers, found: Sequence[tuple[float, float, float]], name: str) -> Markup:
    view = View((found[0][0], found[-1][0]), 0, 1)
    most = max(max(before, now) for _, before, now in found) or 1.0
    spaces = [view.place(b[0]) - view.place(a[0]) for a, b in pairwise(found)]
    width = min(9.0, max(1.5, 0.42 * min(spaces, default=1.0) * (_RIGHT - _LEFT - 24)))
    body: list[Markup] = []
    for value, before, now in found:
        x = _LEFT + 12 + view.place(value) * (_RIGHT - _LEFT - 24)
        body.append(tag("rect", x=x - width, y=_y(before / most), width=width, height=_BOTTOM - _y(before / most), class_="was area"))
        body.append(tag("rect", x=x, y=_y(now / most), width=width, height=_BOTTOM - _y(now / most), class_="now area"))
    ends = [(side[0] / max(sum(side), 1), side[-1] / max(sum(side), 1)) for side in (numbers.before, numbers.now)]
    below, above = ((ends[0][place], ends[1][place]) for place in (0, 1))
    said = f"Share of rows by value. Below the least: {_change(*below)}; above the greatest: {_change(*above)}."
    return _figure(
        f"Distribution of {name}, baseline and window", said, _HEIGHT,
        *_legend(), *_grid(), *_axis(view, inset=12), *body, *_shares_labels(most), *_ends(view, below, above),
    )  # fmt: skip


def _figure(title: str, said: str, height: float, *body: Markup) -> Markup:
    head = (tag("title", title), tag("desc", said)) if said else (tag("title", title),)
    return tag("svg", *head, *body, xmlns=NAMESPACE, viewBox=f"0 0 {_WIDTH:g} {height:g}", role="img")


def _legend(*, lines: bool = False) -> Iterator[Markup]:
    for x, class_, text in ((_LEFT, "was", "baseline"), (_LEFT + 100, "now", "this window")):
        if lines:
            yield tag("polyline", points=f"{x:g},13 {x + 24:g},13", class_=f"{class_} line")
        else:
            yield tag("rect", x=x, y=7, width=24, height=12, class_=f"{class_} area")
        yield tag("text", text, x=x + 30, y=17)


def _axis(view: View, inset: float = 0.0) -> Iterator[Markup]:
    yield tag("path", d=f"M{_LEFT:g} {_BOTTOM:g} H{_RIGHT:g}", class_="axis")
    for value in ticks(view.low, view.high):
        x = _LEFT + inset + view.place(value) * (_RIGHT - _LEFT - 2 * inset)
        yield tag("path", d=f"M{x:.1f} {_BOTTOM:g} v4", class_="axis")
        yield tag("text", short(value), x=x, y=_BOTTOM + 17, text_anchor="middle")


def _grid() -> Iterator[Markup]:
    for part in (0.5, 1.0):
        yield tag("path", d=f"M{_LEFT:g} {_y(part):.1f} H{_RIGHT:g}", class_="grid")


def _shares_labels(most: float) -> Iterator[Markup]:
    for part in (0.5, 1.0):
        yield tag("text", f"{100 * most * part:.3g}%", x=_LEFT + 2, y=_y(part) - 3, class_="faint halo")


def _ends(view: View, below: tuple[float, float], above: tuple[float, float]) -> Iterator[Markup]:
    """Draw what lies beyond the picture: bars without a width of their own, to a scale of their own, with their shares."""
    most = max(*below, *above, 0.05)
    low, high = (f"< {short(view.low)}", 0.0, "start"), (f"> {short(view.high)}", _WIDTH, "end")
    for (before, now), x, (label, edge, anchor) in ((below, 4.0, low), (above, _RIGHT + 14, high)):
        if max(before, now) < 5e-5:
            continue
        for place, (share, class_) in enumerate(((before, "was area open"), (now, "now area open"))):
            height = 0.7 * (_BOTTOM - _TOP) * share / most
            yield tag("rect", x=x + 14 * place, y=_BOTTOM - height, width=13, height=height, class_=class_)
        yield tag("text", _percent(now), x=x + 14, y=_BOTTOM - 0.7 * (_BOTTOM - _TOP) * max(before, now) / most - 5, text_anchor="middle")
        yield tag("text", label, x=edge, y=_BOTTOM + 30, text_anchor=anchor, class_="faint")


def _row_label(label: str, y: float) -> Markup:
    shown = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}…"
    return tag("text", tag("title", label), shown, x=_LABEL, y=y, text_anchor="end")


def _x(part: float) -> float:
    return _LEFT + part * (_RIGHT - _LEFT)


def _y(part: float) -> float:
    return _BOTTOM - part * (_BOTTOM - _TOP)


def _change(before: float, now: float) -> str:
    return f"{_percent(before)} → {_percent(now)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.9995 or share == 0 else f"{100 * share:.1f}%" if share >= 0.001 else f"{100 * share:.2g}%"
