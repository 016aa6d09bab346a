"""What the demo shows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_STYLE = {"ok": "green", "warning": "yellow", "drift": "bold red", "untrusted": "bold magenta", "insufficient": "cyan"}
_NEWS = {
    "drift.detected": ("red", "episode {episode} opened: {summary}"),
    "drift.resolved": ("green", "episode {episode} closed ({cause})"),
    "data.untrusted": ("magenta", "episode {episode} opened: {summary}"),
    "decision.recorded": ("bold cyan", "decision: {text}"),
    "approval.requested": ("yellow", "retrainer: asks whether to train"),
    "plan.accepted": ("cyan", "retrainer: plan accepted"),
    "plan.refused": ("yellow", "retrainer: no training, because {reason}"),
    "plan.waiting": ("yellow", "retrainer: waits, because {reason}"),
    "training.started": ("cyan", "SageMaker: training job {job} started"),
    "training.succeeded": ("cyan", "SageMaker: training job completed, {metrics}"),
    "training.failed": ("red", "SageMaker: {reason}"),
    "model.promoted": ("bold green", "gate: promoted, {reason}"),
    "model.held": ("yellow", "gate: held, {reason}"),
    "batch.finished": ("cyan", "SageMaker: batch transform {state}, predictions in {output}"),
    "baseline.adopted": ("cyan", "detector: baseline v{version} in force, from {rows} rows"),
    "drop.rejected": ("magenta", "drop rejected: {message}"),
}


@dataclass
class Row:
    """One drop's line in the closing table."""

    day: date
    rows: int
    verdict: str
    seconds: float
    summary: str
    seed_rule: bool


@dataclass
class Screen:
    """Prints the story as it happens, and the table at its end."""

    console: Console = field(default_factory=Console)
    rows: list[Row] = field(default_factory=list)

    def title(self) -> None:
        """Say what is going to happen."""
        self.console.print(
            Panel.fit(
                "[bold]driftsonde demo[/bold]: every flight that left New York in early 2013\n"
                "A model trained on January predicts late arrivals. From February on each day lands in S3 as one drop.\n"
                "Everything is real but AWS itself: three services, a bus, an emulated S3 and SQS, a local SageMaker that trains.",
                border_style="cyan",
            )
        )

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show a step of the set-up and how long it took."""
        began = time.monotonic()
        with self.console.status(what):
            yield
        self.console.print(f"  [dim]{time.monotonic() - began:5.1f} s[/dim]  {what}", highlight=False)

    def drop(self, row: Row) -> None:
        """Show a drop's verdict."""
        self.rows.append(row)
        style = _STYLE[row.verdict]
        seed = "  [dim]seed rule fires[/dim]" if row.seed_rule else ""
        text = f"  {row.day:%a %d %b}  {row.rows:>5,} rows  {row.seconds:4.1f} s  [{style}]{row.verdict:<9}[/{style}]"
        detail = "" if row.verdict == "ok" else f" {row.summary}"
        self.console.print(text, Text(detail, style=style), seed, highlight=False, sep="")

    def news(self, event: dict[str, Any]) -> None:
        """Show an event of the bus."""
        kind = event["type"].removeprefix("driftsonde.v1.")
        if kind not in _NEWS:
            return
        style, template = _NEWS[kind]
        data = dict(event["data"])
        if kind == "baseline.adopted":
            data |= {"version": data["baseline"]["version"], "rows": f"{data['baseline']['rows']:,}"}
        if kind == "training.succeeded":
            data["metrics"] = ", ".join(f"{name} {value:.4f}" for name, value in sorted(data.get("metrics", {}).items()))
        self.console.print(Text(f"             {template.format_map({'episode': '', **data})}", style=style))

    def slack(self, message: dict[str, Any]) -> None:
        """Show a message as Slack would render it."""
        self.console.print(
            Panel(_blocks(message), title="[bold]#ml-oncall[/bold]  driftsonde  APP", title_align="left", border_style="magenta", width=100)
        )

    def table(self) -> None:
        """Show all drops again."""
        table = Table(title="Every drop", header_style="dim", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for name in ("day", "rows", "verdict", "S3 event to verdict", "any KS p < 0.05", "what moved"):
            table.add_column(name, justify="right" if name in ("rows", "S3 event to verdict") else "left")
        for row in self.rows:
            table.add_row(
                f"{row.day:%d %b}", f"{row.rows:,}", Text(row.verdict, style=_STYLE[row.verdict]), f"{row.seconds:.1f} s",
                Text("fires" if row.seed_rule else "quiet", style="yellow" if row.seed_rule else "dim"),
                "" if row.verdict == "ok" else row.summary,
            )  # fmt: skip
        self.console.print(table)
        alarms, seed = sum(row.verdict == "drift" for row in self.rows), sum(row.seed_rule for row in self.rows)
        self.console.print(
            f"driftsonde alarmed on {alarms} of {len(self.rows)} days; the seed rule, any KS p < 0.05, would have fired on {seed}.",
            style="bold", highlight=False,
        )  # fmt: skip

    def facts(self, title: str, pairs: Sequence[tuple[str, str]]) -> None:
        """Show what lies where."""
        self.console.print(f"\n[bold]{title}[/bold]")
        for name, value in pairs:
            self.console.print(Text(f"  {name:<27}{value}"), soft_wrap=True)


def _blocks(message: dict[str, Any]) -> Text:
    out = Text()
    for block in message.get("blocks", []):
        texts = [block["text"], *block.get("fields", [])] if "text" in block else [*block.get("fields", []), *block.get("elements", [])]
        for item in texts:
            content = item.get("text", "") if isinstance(item, dict) else ""
            out.append(
                content.replace("*", "") + "\n", style="bold" if block["type"] == "header" else "dim" if block["type"] == "context" else ""
            )
    out.rstrip()
    return out or Text(message.get("text", ""))
