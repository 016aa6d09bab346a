"""A headless Chromium, driven over its own protocol: what a page complains of, asks for, pops up, and how wide it is."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)
_TALLEST = 12_000  # pixels of a screenshot


@dataclass(frozen=True)
class Look:
    """How a page is looked at."""

    name: str
    scheme: str
    width: int
    height: int = 900
    mobile: bool = False


LOOKS = (Look("light", "light", 1100), Look("dark", "dark", 1100), Look("phone", "light", 390, 844, True))


@dataclass
class Observed:
    """What a page did while it was shown.

    Attributes:
        console: errors and warnings, of scripts, policies and loading.
        requests: addresses that were asked for.
        dialogs: texts of what popped up.
        width: of what could be scrolled to; `visible` of what is seen.
        background: the colour behind the page.
    """

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    width: int = 0
    visible: int = 0
    background: str = ""
    picture: bytes = b""


class Browser:
    """A browser with one tab for each look at a page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._observed: dict[str, Observed] = {}
        self._loaded: dict[str, asyncio.Event] = {}

    async def look(self, address: str, look: Look, *, picture: bool = False) -> Observed:
        """Show a page and return what it did."""
        target = (await self._call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self._call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        observed = self._observed[session] = Observed()
        self._loaded[session] = asyncio.Event()
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable", session)
        size = {"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.mobile}
        await self._call("Emulation.setDeviceMetricsOverride", session, **size)
        await self._call("Emulation.setEmulatedMedia", session, features=[{"name": "prefers-color-scheme", "value": look.scheme}])
        await self._call("Page.navigate", session, url=address)
        await self._loaded[session].wait()
        await asyncio.sleep(0.05)  # what would run after loading has run
        observed.width = await self._value(session, "document.documentElement.scrollWidth")
        observed.visible = await self._value(session, "document.documentElement.clientWidth")
        observed.background = await self._value(session, "getComputedStyle(document.body).backgroundColor")
        if picture:
            height = min(_TALLEST, await self._value(session, "document.documentElement.scrollHeight"))
            clip = {"x": 0, "y": 0, "width": look.width, "height": height, "scale": 1}
            shot = await self._call("Page.captureScreenshot", session, format="png", captureBeyondViewport=True, clip=clip)
            observed.picture = b64decode(shot["data"])
        await self._call("Target.closeTarget", targetId=target)
        return observed

    async def listen(self) -> None:
        """Take what the browser says, until it is gone."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said.get("sessionId") in self._observed:
                self._note(said["sessionId"], said["method"], said["params"])

    def _note(self, session: str, event: str, said: dict[str, Any]) -> None:
        observed = self._observed[session]
        match event:
            case "Page.loadEventFired":
                self._loaded[session].set()
            case "Page.javascriptDialogOpening":
                observed.dialogs.append(said["message"])
                self._send("Page.handleJavaScriptDialog", session, accept=True)
            case "Network.requestWillBeSent":
                observed.requests.append(said["request"]["url"])
            case "Runtime.exceptionThrown":
                observed.console.append(str(said["exceptionDetails"]["text"]))
            case "Runtime.consoleAPICalled":
                observed.console.append(str(said["args"]))
            case "Log.entryAdded":
                observed.console.append(str(said["entry"]["text"]))

    async def _value(self, session: str, expression: str) -> Any:
        return (await self._call("Runtime.evaluate", session, expression=expression, returnByValue=True))["result"]["value"]

    async def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        answer = await self._send(method, session, **parameters)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _send(self, method: str, session: str | None, **parameters: Any) -> asyncio.Future[Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        self._sending = asyncio.ensure_future(self._socket.send_json(message))
        return answer


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """Run a browser that finds nobody but this machine."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port, path = await _address(profile / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket:
            browser = Browser(socket)
            listening = asyncio.create_task(browser.listen())
            yield browser
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _address(file: Path, process: subprocess.Popen[bytes]) -> tuple[str, str]:
    async with asyncio.timeout(30):
        while True:
            assert process.poll() is None, f"the browser ended with {process.returncode}"
            with suppress(OSError, ValueError):
                port, path = file.read_text().split()
                return port, path
            await asyncio.sleep(0.05)
