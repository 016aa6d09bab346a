"""Tables on the screen, and docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from .measure import ROOT, Options
from .tables import Goal, Table

NOTES = Path(__file__).with_name("notes.md")
_PACKAGES = ("driftsonde-core", "numpy", "pyarrow", "scipy", "zstandard")
_GOAL_HEAD = ("goal", "limit", "measured", "outcome")


def show(title: str, tables: Sequence[Table]) -> None:
    """Print a section's tables and goals."""
    console = Console(width=max(140, Console().width))
    console.rule(title)
    for table in tables:
        _show_one(console, table.title, table.head, table.rows)
        if table.note:
            console.print(table.note, style="dim")
        if table.goals:
            _show_one(console, "", _GOAL_HEAD, [goal.cells() for goal in table.goals])


def _show_one(console: Console, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = RichTable(title=title, title_justify="left")
    for index, name in enumerate(head):
        shown.add_column(name, justify="right" if index else "left")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def document(sections: Mapping[str, tuple[str, Sequence[Table]]], options: Options, command: str, seconds: float) -> str:
    """Return docs/benchmarks.md.

    Args:
        sections: title and tables by name, in order.
        options: what was measured.
        command: the exact command.
        seconds: how long it took.
    """
    notes = prose(NOTES.read_text())
    goals = [goal for _, tables in sections.values() for table in tables for goal in table.goals]
    parts = ["# Benchmarks", _GENERATED, *notes.get("introduction", []), *_machine(options, command, seconds)]
    parts += ["## Goals", _summary(goals), *notes.get("goals", []), _markdown(_GOAL_HEAD, [goal.cells() for goal in goals])]
    for name, (title, tables) in sections.items():
        parts += [f"## {title}", *notes.get(name, [])]
        for table in tables:
            parts += [f"### {table.title}", _markdown(table.head, table.rows), *([table.note] if table.note else [])]
    return "\n\n".join(parts) + "\n"


_GENERATED = "<!-- Written by `make bench`; prose comes from tests/bench/notes.md. Do not edit. -->"


def prose(text: str) -> dict[str, list[str]]:
    """Split the notes at their `## name` lines; what a section has no notes for is not there."""
    pieces = re.split(r"^## (\S+)\n", text, flags=re.MULTILINE)
    return {name: [body.strip()] for name, body in zip(pieces[1::2], pieces[2::2], strict=True) if body.strip()}


def _summary(goals: Sequence[Goal]) -> str:
    met, known = sum(goal.met is True for goal in goals), sum(goal.met is not None for goal in goals)
    left = len(goals) - known
    return f"{met} of {known} goals that were measured are met" + (f"; {left} could not be measured." if left else ".")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    aligns = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, aligns, *rows))


def _machine(options: Options, command: str, seconds: float) -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    rows = [
        ("date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("command", f"`{command}`, {seconds / 60:.0f} minutes{', quick: small sizes, no reliable figures' if options.quick else ''}"),
        ("commit", _commit()),
        ("processor", f"{_cpuinfo('model name')}, {os.cpu_count()} cores, {_memory():.0f} GiB of memory"),
        ("vector instructions", ", ".join(_vectors())),
        ("load average at the end", f"{os.getloadavg()[0]:.1f}: above 1 means that others were busy too"),
        ("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
        ("packages", packages),
    ]
    method = (
        f"Times are CPU times of all threads, medians of {options.rounds} rounds; within a table everything was measured in turn, in one run. "
        "The spread is the largest CPU time of the rounds less the smallest, as a share of the median."
    )
    return [_markdown(("", ""), rows).replace("---:", "---"), method]


def _cpuinfo(key: str) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "unknown")


def _vectors() -> list[str]:
    """Return the flags that decide how fast numpy sorts; ARM names its own."""
    flags = set((_cpuinfo("flags") + " " + _cpuinfo("Features")).split())
    known = ("sse4_2", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512_fp16", "asimd", "sve")
    return [flag for flag in known if flag in flags] or ["none known"]


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", "shared/src", "tests/bench", "requirements")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with uncommitted changes" if changed else "")
