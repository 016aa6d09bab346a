"""`driftsonde approve` and `driftsonde reject`: the answer to a question whether to train."""

from __future__ import annotations

from typing import Annotated

import typer

from driftsonde.core.cli.asking import Token, ask
from driftsonde.core.cli.report import named_episode
from driftsonde.core.errors import DriftsondeError

LOCAL = "http://127.0.0.1:8081"
RetrainerUrl = Annotated[str, typer.Option("--url", envvar="DRIFTSONDE_RETRAINER_URL", help="Where the retrainer answers.")]
Episode = Annotated[str, typer.Argument(help="An episode as MONITOR/NUMBER, e.g. churn/7.")]


def approve(episode: Episode, url: RetrainerUrl = LOCAL, token: Token = "") -> None:
    """Say yes: the episode may be answered with training, as far as budget and cooldown allow."""
    _answer(episode, "approve", url, token)


def reject(episode: Episode, url: RetrainerUrl = LOCAL, token: Token = "") -> None:
    """Say no: nothing is trained for this episode."""
    _answer(episode, "reject", url, token)


def _answer(episode: str, word: str, url: str, token: str) -> None:
    monitor, number = named_episode(episode)
    said = ask("retrainer", url, token, "POST", f"/api/plans/{monitor}/{number}/{word}")["said"]
    wanted = {"approve": "approved", "reject": "rejected"}[word]
    if said != wanted:
        raise DriftsondeError(f"{episode} was {said} before; the first answer holds")
    print(f"{episode}: {said}")
