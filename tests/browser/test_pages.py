"""A browser shows the console and its reports in dark, in light and on a telephone: it complains of nothing, and asks nobody else.

With DRIFTSONDE_SCREENSHOTS=folder the pictures are kept there.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from driftsonde.core.aws.queue import Counts
from driftsonde.core.events import DecisionRecorded, DriftedColumn, Estimate, PlanWaiting
from driftsonde.core.lifecycle import serve_http
from driftsonde.detector.console.queues import INTAKE, LETTERS, queue_watch
from driftsonde.detector.console.served import Console
from unit.core.report.hostile import PAYLOADS
from unit.core.report.support import example, page_of
from unit.detector.consoles import hear, measured_with, page, stored_with
from unit.detector.support import HOUR, NOON, Rig, config
from unit.detector.test_facts import drifted

from .chromium import CHROMIUM, LOOKS, Browser, Look, Observed, chromium

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"), pytest.mark.slow, pytest.mark.timeout(300)]
LIGHT, DARK, PHONE = LOOKS


class Queue:
    """A queue that has some messages."""

    def __init__(self, *counts: int) -> None:
        self._counts = Counts(*counts)

    async def counts(self) -> Counts:
        return self._counts


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser of this test alone."""
    async with chromium(tmp_path / "profile") as found:
        yield found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go."""
    folder = Path(os.environ.get("DRIFTSONDE_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Rig]:
    """A detector of two monitors."""
    rig = Rig(f"sqlite:///{tmp_path}/detector.db", config(2))
    yield rig
    rig.close()


@asynccontextmanager
async def shown(rig: Rig) -> AsyncIterator[str]:
    """Serve the console of a rig, and a file beside it; gives its address."""
    watch = queue_watch(rig.clock)
    await watch.ask({INTAKE: Queue(1_204, 8, 0), LETTERS: Queue(1, 0, 0)})

    async def file(_request: Request) -> Response:
        return HTMLResponse(page_of(example()))

    async def evil(_request: Request) -> Response:
        return HTMLResponse(
            "<!doctype html><body><div style='width:3000px'>wide</div><script>alert('popped'); console.error('said')</script><img src='http://evil.test/x'>"
        )

    routes = [*Console(rig.database, rig.config, rig.clock, watch).routes(), Route("/file", file), Route("/evil", evil)]
    async with serve_http(routes, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def story(rig: Rig) -> int:
    """Have a detector tell of a drift that was answered; returns the episode's number."""
    episode = int((await drifted(rig))["data"]["episode"])
    rig.clock.advance(HOUR)
    hear(
        rig,
        DecisionRecorded(
            monitor="churn", episode=episode, kind="drift", answer="wait", reason="cooldown", text="Wait: the model is 3 hours old and may rest for 24.",
            until=NOON + 21 * HOUR, drifted=(DriftedColumn(column="x", check="ks", score=0.31, threshold=0.1, importance=0.62),), importance=0.62,
            labels="labels exist for 96 % of the rows", cost=Estimate(seconds=900, amount=0.12, currency="USD", at_most=False),
        ),
        PlanWaiting(monitor="churn", episode=episode, plan="churn-2", reason="cooldown", until=NOON + 21 * HOUR, sequence=2),
    )  # fmt: skip
    return episode


def is_well(observed: Observed, address: str, look: Look) -> None:
    """Check what must hold of every page."""
    assert observed.dialogs == [], address
    assert observed.console == [], address
    assert {urlsplit(asked).netloc or asked[:6] for asked in observed.requests} <= {urlsplit(address).netloc, "data:,"}, address
    assert observed.visible == look.width, address
    assert observed.width <= observed.visible, f"{address} is {observed.width} pixels wide on a screen of {observed.visible}"


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
async def test_console_and_reports_are_shown_without_complaint(look: Look, two: Rig, browser: Browser, pictures: Path) -> None:
    episode = await story(two)
    window = re.findall(r'href="(/reports/churn/windows.*?)"', await page(two, "/monitors/churn"))[0]
    addresses = {
        "fleet": "/", "monitor": "/monitors/churn", "episode": f"/reports/churn/{episode}", "window": unescape(window), "file": "/file", "missing": "/monitors/none",
    }  # fmt: skip
    async with shown(two) as url:
        for name, address in addresses.items():
            observed = await browser.look(url + address, look, picture=True)
            if name == "missing":  # that the page itself is a 404 is what the browser says of it
                observed.console = [line for line in observed.console if "404 (Not Found)" not in line]
            is_well(observed, url + address, look)
            assert observed.background == ("rgb(20, 23, 26)" if look is DARK else "rgb(255, 255, 255)")
            assert len(observed.picture) > 5_000
            (pictures / f"{name}-{look.name}.png").write_bytes(observed.picture)


async def test_two_hundred_hostile_texts_run_nothing_in_the_console(tmp_path: Path, browser: Browser) -> None:
    rig = stored_with(tmp_path, PAYLOADS)
    async with shown(rig) as url:
        for address in ("/", *(f"/monitors/{monitor.name}" for monitor in rig.config.monitors)):
            is_well(await browser.look(url + address, PHONE), url + address, PHONE)
    rig.close()


async def test_two_hundred_hostile_names_run_nothing_in_the_reports(tmp_path: Path, browser: Browser, pictures: Path) -> None:
    rig = await measured_with(tmp_path, PAYLOADS)
    assert len(rig.episodes()) == len(rig.config.monitors)
    async with shown(rig) as url:
        for monitor in rig.config.monitors:
            for address in (f"/reports/{monitor.name}/1", f"/monitors/{monitor.name}"):
                observed = await browser.look(url + address, PHONE, picture=monitor.name == "m0")
                is_well(observed, url + address, PHONE)
                if observed.picture:
                    (pictures / f"hostile-{'report' if 'reports' in address else 'monitor'}.png").write_bytes(observed.picture)
    rig.close()


async def test_browser_would_tell_of_a_dialog_a_request_an_error_and_a_wide_page(two: Rig, browser: Browser) -> None:
    async with shown(two) as url:
        observed = await browser.look(url + "/evil", PHONE)
    assert observed.dialogs == ["popped"]
    assert any("said" in line for line in observed.console)
    assert "http://evil.test/x" in observed.requests
    assert observed.width >= 3_000
    with pytest.raises(AssertionError):
        is_well(observed, url + "/evil", PHONE)
