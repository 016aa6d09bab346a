"""`driftsonde explain`: what was decided about an episode, and why."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from driftsonde.core.cli.report import named_episode
from driftsonde.core.cli.status import LOCAL, DetectorUrl
from driftsonde.core.errors import DriftsondeError


def explain(
    episode: Annotated[str, typer.Argument(help="An episode as MONITOR/NUMBER, e.g. churn/7.")],
    url: DetectorUrl = LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="The decision record, as it is.")] = False,
) -> None:
    """Show the decision record: what drifted, whether the data is trusted, what the policy says, what it would cost, and the answer."""
    from driftsonde.core.cli.remote import Detector
    from driftsonde.core.report.decided import decided, latest_decision
    from driftsonde.core.report.story import of_episode, steps

    monitor, number = named_episode(episode)
    with Detector(url) as detector:
        detector.monitor(monitor)
        events = of_episode(detector.timeline(monitor), number)
    if not events:
        raise DriftsondeError(f"the timeline of {monitor} has no episode {number}; `driftsonde status` lists them")
    record = latest_decision(events)
    if as_json:
        print(json.dumps(record.model_dump(mode="json", exclude_none=True) if record else None, indent=2))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, table = Console(emoji=False), Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    console.print(f"[bold]{monitor}, episode {number}[/bold]", highlight=False)
    for fact in decided(events):
        table.add_row(fact.name, escape(fact.value))
    for step in steps(events):
        table.add_row(step.when, escape(f"{step.what}  {step.detail}"))
    console.print(
        table if record else "Nobody has decided yet: is the retrainer running, and has the monitor a retrain section?", highlight=False
    )
    if not record:
        console.print(table, highlight=False)
