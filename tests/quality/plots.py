"""The pictures of docs/quality/, drawn from the figures; the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .report import Section
from .rules import ANY_P
from .watch import OURS

mpl.use("svg")
mpl.rcParams.update({
    "svg.hashsalt": "driftsonde", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "figure.facecolor": "white", "axes.titlesize": 10, "legend.frameon": False,
})  # fmt: skip

_OURS = "#c2410c"
_OTHERS = ("#94a3b8", "#64748b", "#0ea5e9", "#0f766e", "#7c3aed", "#a855f7", "#65a30d", "#ca8a04", "#334155")
_MARKS = "osv^D<>Ph"


def draw(sections: Mapping[str, Section], folder: Path) -> None:
    """Draw every picture that there are figures for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        if name in sections and sections[name].data:
            figure = picture(sections[name].data)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")


def _false_alarms(data: Mapping[str, Any]) -> Figure:
    """Draw alarms by rule and size of window: a panel for each width of table, a logarithmic scale with zero below it."""
    widths = list(dict.fromkeys(title.partition(" col.")[0] for title in data if " col. " in title))
    figure = Figure(figsize=(3.6 * len(widths) + 2.4, 3.6))
    panels = figure.subplots(1, len(widths), sharey=True, squeeze=False)[0]
    for panel, width in zip(panels, widths, strict=True):
        cells = {title.partition("n=")[2]: found for title, found in data.items() if title.startswith(f"{width} col.")}
        _panel(panel, cells)
        panel.set_title(f"{width} columns")
        panel.set_xlabel("rows of a window")
    panels[0].set_ylabel("windows with an alarm per 1,000")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _panel(panel: Axes, cells: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    rules = [rule for rule in next(iter(cells.values())) if rule == OURS or not rule.startswith(OURS)]
    for i, rule in enumerate(rules):
        ours = rule == OURS
        color = _OURS if ours else _OTHERS[i]
        values = [cell[rule][0] for cell in cells.values()]
        panel.plot(
            list(cells),
            values,
            color=color,
            marker=_MARKS[i % len(_MARKS)],
            ms=4,
            lw=2.5 if ours else 1.1,
            label=rule,
            zorder=5 if ours else 2,
        )
        if ours:  # nothing seen is not a rate of zero
            limits = [cell[rule][1] for cell in cells.values()]
            panel.plot(list(cells), limits, color=color, ls=":", lw=1, marker="_", label=f"{rule}: 95 % upper limit of a 0")
    panel.axhline(1, color="#111827", lw=0.8, ls="--", label="goal: 1")
    panel.set_yscale("symlog", linthresh=0.1)
    panel.set_ylim(-0.02, 2_000)


def _power(data: Mapping[str, Any]) -> Figure:
    """Draw the share found by the size of a shift, a panel for each size of window."""
    curves = data["curve"]
    figure = Figure(figsize=(11, 3.4))
    panels = figure.subplots(1, len(curves), sharey=True)
    for panel, (rows, found) in zip(panels, curves.items(), strict=True):
        for i, (rule, shares) in enumerate(reversed(found["lines"].items())):
            if rule == ANY_P:  # of a number the same as the seed rule
                continue
            ours = rule.startswith(OURS)
            color, style = (
                (_OURS if ours else _OTHERS[i % len(_OTHERS)]),
                ("--" if "within" in rule else ":" if "min_rows" in rule else "-"),
            )
            panel.plot(found["shift"], shares, color=color, ls=style, lw=2.2 if ours else 1.1, label=rule, zorder=5 if ours else 2)
        panel.axvspan(0, 0.25, color="#f1f5f9", zorder=0)
        panel.set_title(f"n = {int(rows):,}")
        panel.set_xlabel("shift of the mean, sd")
    panels[0].set_ylabel("share found (shaded: below the threshold)")
    handles, labels = panels[0].get_legend_handles_labels()  # the first panel has one line more
    panels[-1].legend(handles, labels, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _calendar(data: Mapping[str, Any]) -> Figure:
    """Draw a dot for each day that a rule flags."""
    days, rules = data["all"], list(data["days"])[::-1]
    figure = Figure(figsize=(10, 3.8))
    axes = figure.subplots()
    for i, rule in enumerate(rules):
        places = [days.index(day) for day in data["days"][rule]]
        axes.scatter(places, [i] * len(places), s=22, color=_OURS if rule.startswith(OURS) else "#64748b")
    for storm in ("2013-02-08", "2013-02-09", "2013-03-06", "2013-03-08"):
        axes.axvspan(days.index(storm) - 0.5, days.index(storm) + 0.5, color="#dbeafe", zorder=0)
    axes.set_yticks(range(len(rules)), [f"{rule} ({len(data['days'][rule])})" for rule in rules])
    shown = range(0, len(days), 3)
    axes.set_xticks(list(shown), [f"{date.fromisoformat(days[i]).day}.{date.fromisoformat(days[i]).month}." for i in shown])
    axes.set_title("days flagged of 38; shaded: the storms of 8–9 February and of 6–8 March 2013")
    axes.grid(axis="x", color="#e5e7eb", lw=0.5)
    return figure


def _season(data: Mapping[str, float]) -> Figure:
    """Draw a bar for each rule."""
    rules = list(data)[::-1]
    figure = Figure(figsize=(8, 3.2))
    axes = figure.subplots()
    bars = axes.barh(rules, [data[rule] for rule in rules], color=[_OURS if rule.startswith(OURS) else "#94a3b8" for rule in rules])
    axes.bar_label(bars, [f"{data[rule]:,.{0 if data[rule] >= 10 else 1}f}" for rule in rules], padding=3)
    axes.axvline(10, color="#111827", lw=0.8, ls="--")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, 3_000)
    axes.set_xlabel("hours with an alarm per 1,000; dashed: the goal, 10")
    return figure


PICTURES: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "quiet": _false_alarms, "wobble": _false_alarms, "power": _power, "season": _season, "flights": _calendar,
}  # fmt: skip
