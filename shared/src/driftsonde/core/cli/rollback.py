"""`driftsonde rollback`: the former model serves again."""

from __future__ import annotations

from typing import Annotated

import typer

from driftsonde.core.cli.approve import LOCAL, RetrainerUrl
from driftsonde.core.cli.asking import Token, ask
from driftsonde.core.text import clean


def rollback(
    monitor: Annotated[str, typer.Argument(help="Whose champion is taken back.")],
    reason: Annotated[str, typer.Option(help="Why, for the others.")] = "rolled back by hand",
    url: RetrainerUrl = LOCAL,
    token: Token = "",
) -> None:
    """Take a monitor's champion back: endpoint, model package and registry return to the model before it.

    The retrainer writes the wish down and works it off; the event deployment.finished says when it is done.
    """
    answer = ask("retrainer", url, token, "POST", f"/api/monitors/{monitor}/rollback", {"reason": reason})
    where = f" on {clean(answer['endpoint'], 63)}" if answer["endpoint"] else ""
    print(f"{clean(answer['model'], 63)} is taken back{where}; {clean(answer['previous'] or 'the model before it', 63)} is champion again")
