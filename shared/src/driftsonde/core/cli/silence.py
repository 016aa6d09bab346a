"""`driftsonde silence`: a monitor that people know about is not told for a while."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from driftsonde.core.cli.asking import Token, ask
from driftsonde.core.text import clean

_LOCAL = "http://127.0.0.1:8082"


def silence(
    monitor: Annotated[str | None, typer.Argument(help="The monitor to be silent about.")] = None,
    length: Annotated[str | None, typer.Option("--for", help="For how long, e.g. 4h; at most 90d.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the others.")] = "",
    channel: Annotated[str | None, typer.Option(help="On this channel only; default: on all.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the silences that are not over.")] = False,
    end: Annotated[int | None, typer.Option("--end", metavar="ID", help="End a silence now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What the notifier answers, as it is.")] = False,
    url: Annotated[str, typer.Option(envvar="DRIFTSONDE_NOTIFIER_URL", help="Where the notifier answers.")] = _LOCAL,
    token: Token = "",
) -> None:
    """Be silent about a monitor for a while, list silences, or end one.

    An episode that began meanwhile and is still open is told when the silence is over; so is the end of one that was told before.
    """
    if [monitor is not None, list_, end is not None].count(True) != 1:
        raise typer.BadParameter("give one of: a monitor, --list, --end")
    if (monitor is None) != (length is None):
        raise typer.BadParameter("a monitor and --for go together, e.g. driftsonde silence churn --for 4h")
    if list_:
        found = ask("notifier", url, token, "GET", "/api/silences")
        print(json.dumps(found, indent=2) if as_json else "\n".join(map(_line, found)) or "no silences")
    elif end is not None:
        ask("notifier", url, token, "DELETE", f"/api/silences/{end}")
        print(f"silence {end} is over")
    else:
        wanted = {"monitor": monitor, "for": length, "reason": reason} | ({"channel": channel} if channel else {})
        begun = ask("notifier", url, token, "POST", "/api/silences", wanted)
        print(json.dumps(begun, indent=2) if as_json else _line(begun))


def _line(one: dict[str, Any]) -> str:
    where = one["channel"] or "every channel"
    why = f"  {clean(one['reason'], 200)}" if one["reason"] else ""
    return f"{one['id']}  {one['monitor']} on {where} until {one['until'][:16].replace('T', ' ')} UTC{why}"
