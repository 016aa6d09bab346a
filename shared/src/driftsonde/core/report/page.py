"""The report as one HTML file, and the event in it back again.

The data is in `<pre>` below `<details>`, not in a data block: a script element, even one that is never run, is what mail gateways
strip and what readers of the page's policy (`default-src 'none'`) must take on trust. As text it is escaped like everything else,
can be read and copied without a tool, and is as easily parsed.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from html.parser import HTMLParser

from jinja2 import Template

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.look import environment
from driftsonde.core.report import pictures
from driftsonde.core.report.columns import NEVER
from driftsonde.core.report.model import Report
from driftsonde.core.report.story import moment

_EVENT = "report-event"


def render(report: Report, *, made: datetime, home: str = "") -> str:
    """Return the page.

    Args:
        made: when; it is all that differs between two reports of the same.
        home: where a page that is served leads back to; a file leads nowhere.
    """
    # Escapes of JSON: what is not ASCII may be what turns text around.
    data = json.dumps(report.data, separators=(",", ":"), ensure_ascii=True)
    event = json.dumps(json.loads(report.event), separators=(",", ":"), ensure_ascii=True) if report.event else ""
    return _template().render(r=report, made=moment(made), data=data, event=event, event_id=_EVENT, home=home)


def event_of(page: str) -> bytes:
    """Return the event that a report is about.

    Raises:
        DriftsondeError: if there is none in it: a report on a window, or no report.
    """
    found = _Event()
    found.feed(page)
    if not found.text:
        raise DriftsondeError("there is no event in this page; reports on episodes have one")
    return "".join(found.text).encode()


class _Event(HTMLParser):
    """Collects the text of one element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = ("id", _EVENT) in attrs

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text.append(data)


@cache
def _template() -> Template:
    made = environment(__package__)
    made.filters |= {"figure": _figure, "percent": _percent}
    made.globals["draw"] = pictures
    return made.get_template("page.html.j2")


def _figure(value: float | int | None) -> str:
    """Return a number of a table; what is not known is a dash."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if value >= NEVER:
        return "never"
    return f"{value:.2g}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
