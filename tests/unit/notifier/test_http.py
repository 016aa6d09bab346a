"""Posting to configured addresses; which addresses are refused is in tests/security/test_ssrf.py."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from driftsonde.core.errors import ConfigError
from driftsonde.core.ports import Delivery
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels.http import Answer, HttpPoster, http_client
from driftsonde.notifier.channels.secrets import read_url

from .support import SECRET, TRUST, Reply, Server, scripted_server

KEY = "channels.ops.webhook_file"


def resolver(*answers: Sequence[str]):  # type: ignore[no-untyped-def]  # a closure over the script
    """Return a resolver that gives each answer once, then the last for ever."""
    script = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return script.pop(0) if len(script) > 1 else script[0]

    return resolve


async def post(url: str, **options: object) -> Answer | Delivery:
    """Post once with a client of our own."""
    async with http_client(TRUST) as client:
        return await HttpPoster(url, client, FakeClock(), key=KEY, **options).post(b"{}", "application/json")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(s, "retry") for s in (408, 425, 429, 500, 502, 503, 504, 599)]
    + [(s, "refused") for s in (300, 307, 400, 401, 403, 404, 405, 410, 413, 422, 451)],
)
def test_status_decides_between_retry_and_refusal(status: int, outcome: str) -> None:
    assert Answer(status, "", None).failed().outcome == outcome


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5", "²", "Thu, 99 Foo 2026", "Thu, 01 Jan 2026 00:00:00"])
async def test_unreadable_retry_after_is_ignored(server: Server, header: str) -> None:
    server.replies.append(Reply(429, "", {"Retry-After": header} if header.isascii() else {}))
    answer = await post(server.url(), allow_private=True)
    assert isinstance(answer, Answer)
    assert answer.retry_after is None


async def test_endless_answer_is_cut_short(server: Server) -> None:
    server.replies.append(Reply(200, "x" * 5_000_000))
    answer = await post(server.url(), allow_private=True)
    assert isinstance(answer, Answer)
    assert len(answer.text) == 1024


async def test_dead_server_is_retried_without_naming_it() -> None:
    async with scripted_server() as gone:
        url = gone.url()
    assert await post(url, allow_private=True) == Delivery("retry", "ConnectError")


async def test_second_address_is_tried_when_first_is_dead(server: Server) -> None:
    answer = await post(f"http://two.example:{server.port}/", allow_private=True, resolve=resolver(["127.0.0.9", "127.0.0.1"]))
    assert isinstance(answer, Answer)
    assert answer.text == "ok"


async def test_unknown_host_is_retried() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known: hooks.example")

    assert await post("https://hooks.example/x", resolve=resolve) == Delivery("retry", "OSError")
    assert await post("https://hooks.example/x", resolve=resolver([])) == Delivery("retry", "host has no address")


async def test_silent_server_ends_in_timeout(server: Server) -> None:
    server.replies.append(Reply(delay=2))
    async with httpx.AsyncClient(timeout=0.2, trust_env=False) as client:
        answer = await HttpPoster(server.url(), client, FakeClock(), key=KEY, allow_private=True).post(b"", "text/plain")
    assert answer == Delivery("retry", "ReadTimeout")


@pytest.mark.parametrize(("host", "outcome"), [("hooks.example", "ok"), ("other.example", "ConnectError")])
async def test_certificate_is_checked_against_the_name(tmp_path: Path, host: str, outcome: str) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hooks.example"
    names = ["-addext", "subjectAltName=DNS:hooks.example", "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, [*command.split(), *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    trust = ssl.create_default_context(cafile=certificate)
    async with scripted_server(context) as secure, http_client(trust) as client:
        url = f"https://{host}:{secure.port}/x"
        poster = HttpPoster(url, client, FakeClock(), key=KEY, allow_private=True, resolve=resolver(["127.0.0.1"]))
        answer = await poster.post(b"{}", "application/json")
        assert (answer.text if isinstance(answer, Answer) else answer.detail) == outcome
        assert len(secure.requests) == (outcome == "ok")


def test_missing_file_is_named_with_its_channel(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"channels\.ops\.webhook_file: cannot read .*/none: No such file"):
        read_url(KEY, tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"\n", b"https://a\nhttps://b", b"\xff\xfe", b"https://" + b"a" * 5000])
def test_file_without_one_url_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "url").write_bytes(content)
    with pytest.raises(ConfigError, match=KEY):
        read_url(KEY, tmp_path / "url")


def test_address_pasted_as_file_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="is an address itself") as caught:
        read_url(KEY, Path(f"https://hooks.slack.com/services/{SECRET}"))
    assert "SECRET" not in str(caught.value)
