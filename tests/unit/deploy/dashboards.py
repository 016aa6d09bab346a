"""The dashboards, as Grafana would read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from .promql import DEPLOY

NAMES = ("fleet", "monitor", "operations")


class Asked(NamedTuple):
    """A query of a dashboard, and whose it is."""

    dashboard: str
    panel: str
    query: str

    def filled(self, monitor: str, *, rate: str = "1m", whole: str = "1h") -> str:
        """Return the query with Grafana's variables replaced."""
        values = {"$monitor": monitor, "$__rate_interval": rate, "$__range": whole}
        text = self.query
        for name, value in values.items():
            text = text.replace(name, value)
        return text


@cache
def dashboard(name: str) -> Mapping[str, Any]:
    """Return a dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / f"{name}.json").read_text())
    return found


def panels(name: str) -> list[dict[str, Any]]:
    """Return what a dashboard shows, but for its headings."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def asked() -> Iterator[Asked]:
    """Yield every query of every dashboard, those of annotations too."""
    for name in NAMES:
        for panel in panels(name):
            for target in panel["targets"]:
                yield Asked(name, f"{panel['title']} {target['refId']}", target["expr"])
        for annotation in dashboard(name)["annotations"]["list"]:
            yield Asked(name, f"annotation {annotation['name']}", annotation["expr"])
