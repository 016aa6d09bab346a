"""Signed webhooks, and how README.md says they are verified."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftsonde.core.errors import ConfigError
from driftsonde.core.ports import Delivery, Occasion
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels.http import HttpPoster
from driftsonde.notifier.channels.secrets import read_secret, read_url
from driftsonde.notifier.channels.webhook import Signer, Webhook

from .support import NOON, Request, Server, detected, event

KEY = b"0123456789abcdef-secret"
README = Path(__file__).parents[3] / "services/notifier/README.md"


async def send(server: Server, key: bytes | None = KEY, occasion: Occasion | None = None) -> Request:
    """Post one event and return what the server got."""
    clock = FakeClock(NOON)
    async with httpx.AsyncClient(trust_env=False) as client:
        poster = HttpPoster(server.url(), client, clock, key="channels.hook.url_file", allow_private=True)
        channel = Webhook(poster, Signer(key, clock) if key else None)
        assert await channel.send(event(detected()), occasion or Occasion()) == Delivery("delivered")
    return server.requests[-1]


@pytest.fixture(scope="module")
def documented() -> Any:
    """`is_genuine(headers, body, secret, now)` as it stands in the README."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["is_genuine"]


async def test_signed_request_passes_the_documented_check(server: Server, documented: Any) -> None:
    request = await send(server)
    assert re.fullmatch(rf"t={int(NOON.timestamp())},v1=[0-9a-f]{{64}}", request.headers["driftsonde-signature"])
    signature = request.headers["driftsonde-signature"]
    assert documented(signature, request.body, KEY, now=NOON.timestamp() + 10)


@pytest.mark.parametrize("change", ["body", "key", "time", "header", "age"])
async def test_changed_or_old_request_fails_the_documented_check(server: Server, documented: Any, change: str) -> None:
    request = await send(server)
    signature, body, key, now = request.headers["driftsonde-signature"], request.body, KEY, NOON.timestamp()
    moment = str(int(NOON.timestamp()))
    changed = {
        "body": (signature, body.replace(b"age", b"agf"), key, now), "key": (signature, body, b"another-key-of-16", now),
        "time": (signature.replace(moment, str(int(moment) + 1)), body, key, now), "header": ("", body, key, now),
        "age": (signature, body, key, now + 301),
    }[change]  # fmt: skip
    assert not documented(*changed[:3], now=changed[3])


async def test_request_without_secret_has_no_signature(server: Server) -> None:
    request = await send(server, None)
    assert "driftsonde-signature" not in request.headers
    assert "driftsonde-occasion" not in request.headers


@pytest.mark.parametrize(("occasion", "said"), [(Occasion(sample=True), "test"), (Occasion(reminder=3), "reminder 3")])
async def test_event_told_again_stays_as_it_was(server: Server, occasion: Occasion, said: str) -> None:
    request = await send(server, KEY, occasion)
    assert request.headers["driftsonde-occasion"] == said
    assert request.body == event(detected()).to_json()


def test_short_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2hunter2")
    with pytest.raises(ConfigError, match=r"channels\.hook\.secret_file: .*/key must hold at least 16 characters") as caught:
        read_secret("channels.hook.secret_file", tmp_path / "key", least=16)
    assert "hunter2" not in str(caught.value)


def test_secret_pasted_as_file_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="cannot read the file that it names: No such file") as caught:
        read_secret("channels.ops.token_file", Path("xoxb-hunter2-hunter2"))
    assert "hunter2" not in str(caught.value)


def test_secret_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANNEL_SECRETS", '{"slack": "https://hooks.example/T1", "key": "hunter2hunter2"}')
    assert read_url("channels.ops.webhook_file", Path("env:CHANNEL_SECRETS/slack")) == "https://hooks.example/T1"
    with pytest.raises(ConfigError, match="env:CHANNEL_SECRETS/key must hold at least 16 characters") as caught:
        read_secret("channels.hook.secret_file", Path("env:CHANNEL_SECRETS/key"), least=16)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot read env:CHANNEL_SECRETS/duty: the variable's JSON has no such text"):
        read_secret("channels.duty.routing_key_file", Path("env:CHANNEL_SECRETS/duty"))
