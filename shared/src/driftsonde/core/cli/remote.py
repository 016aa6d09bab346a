"""The detector's read API, as the commands use it."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from driftsonde.core.api import Baseline
from driftsonde.core.errors import DriftsondeError, PoisonError
from driftsonde.core.events import Event, parse_event
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.codec import SketchError, decode_table
from driftsonde.core.sketch.table import TableSketch


class StoredWindow(NamedTuple):
    """A window as the detector keeps it: its name, the word of its verdict (None: not judged yet), and its counts."""

    name: str
    verdict: str | None
    table: TableSketch


class Detector:
    """What a detector answers.

    Args:
        url: where it is.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise DriftsondeError(f"{url!r} is not the address of a detector; expected http://host:port")
        self.url = url.rstrip("/")
        self._client = httpx.Client(timeout=60)

    def __enter__(self) -> Detector:
        """Keep the connection open meanwhile."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._client.close()

    def monitor(self, name: str) -> dict[str, Any]:
        """Return what is said of a monitor.

        Raises:
            DriftsondeError: if there is none of that name.
        """
        monitors: list[dict[str, Any]] = self._get("/api/monitors").json()
        found = next((monitor for monitor in monitors if monitor["name"] == name), None)
        if found is None:
            raise DriftsondeError(f"there is no monitor {name!r}; there are: {', '.join(monitor['name'] for monitor in monitors)}")
        return found

    def windows(self, monitor: str) -> list[dict[str, Any]]:
        """Return what is said of a monitor's windows, in order."""
        found: list[dict[str, Any]] = self._get(f"/api/monitors/{monitor}/windows").json()
        return found

    def baseline(self, monitor: str, version: int) -> Baseline:
        """Return a frozen baseline."""
        try:
            return Baseline.from_bytes(self._get(f"/api/monitors/{monitor}/baselines/{version}").content)
        except SketchError as exc:
            raise DriftsondeError(f"baseline {version} of {monitor} cannot be read: {exc}") from exc

    def timeline(self, monitor: str) -> list[Event]:
        """Return every event of a monitor, as they were heard; those of a newer version's types are left out."""
        found: list[Event] = []
        after = 0
        while page := self._get(f"/api/timeline?monitor={monitor}&after={after}").json():
            after = page[-1].pop("seq")
            for body in page:
                body.pop("seq", None)
                with suppress(PoisonError):
                    found.append(parse_event(json.dumps(body).encode()))
        return found

    def lookback(self, link: str, baseline: FrozenBaseline) -> list[TableSketch]:
        """Return the windows that an event's `sketches.link` leads to."""
        if not link.startswith("/api/"):
            raise DriftsondeError(f"{link!r} does not lead to a detector's windows")
        return [window.table for window in _decoded(self._get(link).json(), baseline)]

    def windows_from(self, monitor: str, first: str, baseline: Baseline) -> Iterator[StoredWindow]:
        """Yield a window, and those of the same baseline after it, page by page."""
        following: str | None = first
        while following is not None:
            page = self._get(f"/api/monitors/{monitor}/sketches?from={quote(following, safe='')}&limit=200").json()
            yield from _decoded(page, baseline)
            following = page["next"]

    def _get(self, path: str) -> httpx.Response:
        try:
            answer = self._client.get(self.url + path)
        except httpx.HTTPError as exc:
            raise DriftsondeError(
                f"the detector does not answer at {self.url}: {exc}; --url, --api or DRIFTSONDE_URL says where it is"
            ) from exc
        if answer.is_error:
            raise DriftsondeError(f"the detector at {self.url} refuses {path[:200]}: {answer.status_code} {_reason(answer)}")
        return answer


def _decoded(page: dict[str, Any], baseline: FrozenBaseline) -> Iterator[StoredWindow]:
    for window in page["windows"]:
        if window["sketch"] is not None:  # else its drops were taken away
            try:
                table = decode_table(b64decode(window["sketch"]), baseline.layout)
            except SketchError as exc:
                raise DriftsondeError(f"window {window['id']} cannot be read: {exc}") from exc
            yield StoredWindow(window["id"], window["verdict"], table)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
