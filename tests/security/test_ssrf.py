"""Webhooks reach public addresses only, those that were checked, and go nowhere else from there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from driftsonde.core.errors import ConfigError
from driftsonde.core.ports import Delivery
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels.http import Answer, HttpPoster, Resolve, http_client, is_public, resolve_host
from unit.notifier.support import SECRET, TRUST, Reply, Server, scripted_server

KEY = "channels.ops.webhook_file"
NUMBERS = [  # every way in which a C library reads an address of this machine, or of metadata services
    "127.1", "127.0.1", "0", "00", "2130706433", "0x7f000001", "0X7F.1", "0x7f.0.0.0x1", "017700000001", "0177.0.0.1", "00000177.0.0.1", "127.0.0x0.1",
    "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "3232235777", "0xc0a80101", "10.1", "0xA000001", "1681915904",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1",
    "100.100.100.200", "100.127.255.255", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.0.1", "192.0.2.1", "168.63.129.16",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[fe80::1]", "[febf::1]", "[fc00::1]", "[fd00:ec2::254]", "[fd20:ce::254]",
    "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[100::1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::a00:1]", "[64:ff9b:1::a00:1]",
    "[2001:db8::1]", "[2001::1]", "[2001:0:7f00:1::]", "[3fff::1]", "[5f00::1]", "[4000::1]",
]  # fmt: skip
MALFORMED = [
    "http://hooks.slack.com/x", "ftp://hooks.slack.com/x", "file:///etc/passwd", "gopher://127.0.0.1/", "//hooks.slack.com/x", "hooks.slack.com/x", "javascript:1", "data:,x", "unix:///run/docker.sock",
    "https://", "https:///x", "https:hooks.slack.com", "https:/hooks.slack.com", "https://?x", "https://:443/", "https://[::1/", "https://[127.0.0.1]/", "https://[v1.x]/", "https://xn--127-0.0.0.1/",
    "https://user:pw@hooks.slack.com/", "https://hooks.slack.com@127.0.0.1/", "https://hooks.slack.com:443@127.0.0.1/", "https://@127.0.0.1/x@y", "https://hooks.slack.com\\@127.0.0.1/", "https://127.0.0.1\\.hooks.slack.com/",
    "https://hooks.slack.com:99999/", "https://hooks.slack.com:0/", "https://hooks.slack.com:port/", "https://ho oks/", "https://a\tb/", "https://a\r\nHost: b/", "https://a\x00b/", " https://127.0.0.1/",
]  # fmt: skip
LOOK_ALIKES = [  # an IDNA step turns some of these into digits and dots
    "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://１２７.０.０.１/", "https://127．0．0．1/", "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "https://ｌｏｃａｌｈｏｓｔ/", "https://loc\u00adalhost/", "https://127.0.0.1\u200b/",
    "https://０x7f.1/",
]  # fmt: skip
NAMES = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1.",
    "2130706433.",
    "0x7f000001.",
    "%31%32%37.0.0.1",
    "127.0.0.1%00",
    "169.254.169.254\u3002",
    "[::1%25lo]",
    "[::1%lo]",
    "127.0.0.1%2f",
    "localhost%23",
]


def resolver(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """Return a resolver that gives each answer once, then the last for ever, and the list of what it was asked."""
    script, asked = list(answers), list[str]()

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return script.pop(0) if len(script) > 1 else script[0]

    return resolve, asked


class Wire(httpx.AsyncBaseTransport):
    """Stands where connections begin: keeps each request, and answers from a script, else with `ok`."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        answer = self._answers.pop(0) if self._answers else httpx.Response(200, stream=httpx.ByteStream(b"ok"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def hosts(self) -> list[str]:
        """Where connections were made to."""
        return [request.url.host for request in self.requests]


async def post(url: str, *, wire: Wire | None = None, allow_private: bool = False, resolve: Resolve = resolve_host) -> Answer | Delivery:
    """Post once, over `wire` or for real."""
    async with httpx.AsyncClient(transport=wire) if wire else http_client(TRUST) as client:
        poster = HttpPoster(url, client, FakeClock(), key=KEY, allow_private=allow_private, resolve=resolve)
        return await poster.post(b"{}", "application/json")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A scripted HTTP server."""
    async with scripted_server() as served:
        yield served


@pytest.mark.parametrize("host", [*PRIVATE, *NUMBERS])
async def test_private_address_in_any_notation_is_refused_at_start(host: str) -> None:
    with pytest.raises(ConfigError, match=KEY) as caught:
        await post(f"https://{host}/{SECRET}", wire=Wire())
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("url", [*MALFORMED, *LOOK_ALIKES])
async def test_malformed_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match=KEY) as caught:
        await post(url, wire=Wire())
    assert not {"pw", "passwd", "slack.com", "127.0.0.1"} & set(str(caught.value).replace("/", " ").split())


@pytest.mark.parametrize("name", NAMES)
async def test_name_for_this_machine_is_never_connected_to(name: str) -> None:
    wire = Wire()
    try:
        answer = await post(f"https://{name}/x", wire=wire)  # by the system's resolver
    except ConfigError:
        answer = Delivery("refused")
    assert isinstance(answer, Delivery)
    assert wire.requests == []


@pytest.mark.parametrize("port", [22, 80, 443, 2375, 6379])
async def test_port_of_a_private_address_makes_no_difference(port: int) -> None:
    with pytest.raises(ConfigError, match="not public"):
        await post(f"https://10.0.0.1:{port}/x", wire=Wire())


@pytest.mark.parametrize("host", PRIVATE)
async def test_name_that_resolves_to_private_is_refused(host: str) -> None:
    wire, (resolve, _) = Wire(), resolver([host.strip("[]")])
    assert await post("https://hooks.example/x", wire=wire, resolve=resolve) == Delivery("refused", "address is not public")
    assert wire.requests == []


@pytest.mark.parametrize("addresses", [["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "1.1.1.1", "9.9.9.9", "::1"]])
async def test_one_private_address_among_public_is_refused(addresses: list[str]) -> None:
    wire, (resolve, _) = Wire(), resolver(addresses)
    assert await post("https://hooks.example/x", wire=wire, resolve=resolve) == Delivery("refused", "address is not public")
    assert wire.requests == []


async def test_name_that_turns_private_is_connected_to_as_it_was_checked() -> None:
    wire, (resolve, asked) = Wire(), resolver(["8.8.8.8"], ["127.0.0.1"])
    assert isinstance(await post("https://rebind.example:8443/x", wire=wire, resolve=resolve), Answer)
    assert (asked, wire.hosts) == (["rebind.example"], ["8.8.8.8"])
    assert wire.requests[0].headers["Host"] == "rebind.example:8443"
    assert wire.requests[0].extensions["sni_hostname"] == "rebind.example"


async def test_second_try_after_a_dead_address_is_a_checked_one_too() -> None:
    wire, (resolve, asked) = Wire(httpx.ConnectError("dead")), resolver(["8.8.8.8", "1.1.1.1"], ["127.0.0.1"])
    assert isinstance(await post("https://rebind.example/x", wire=wire, resolve=resolve), Answer)
    assert (asked, wire.hosts) == (["rebind.example"], ["8.8.8.8", "1.1.1.1"])


async def test_name_is_resolved_and_checked_anew_for_each_message() -> None:
    wire, (resolve, _) = Wire(), resolver(["8.8.8.8"], ["127.0.0.1"])
    async with httpx.AsyncClient(transport=wire) as client:
        poster = HttpPoster("https://rebind.example/x", client, FakeClock(), key=KEY, resolve=resolve)
        assert isinstance(await poster.post(b"", "text/plain"), Answer)
        assert await poster.post(b"", "text/plain") == Delivery("refused", "address is not public")
    assert wire.hosts == ["8.8.8.8"]


async def test_name_is_resolved_once_on_the_way_to_a_real_server(server: Server) -> None:
    resolve, asked = resolver(["127.0.0.1"], ["192.0.2.1"])
    await post(f"http://rebind.example:{server.port}/x", allow_private=True, resolve=resolve)
    assert asked == ["rebind.example"]
    assert server.requests[0].headers["host"] == f"rebind.example:{server.port}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(server: Server, status: int) -> None:
    server.replies.append(Reply(status, "", {"Location": server.url("/elsewhere")}))
    answer = await post(server.url(), allow_private=True)
    assert isinstance(answer, Answer)
    assert answer.failed() == Delivery("refused", f"HTTP {status}")
    assert len(server.requests) == 1


async def test_proxy_of_the_environment_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await post(server.url(), allow_private=True)
        assert (len(server.requests), proxy.requests) == (1, [])


async def test_refused_address_gets_no_packet(server: Server) -> None:
    resolve, _ = resolver(["127.0.0.1"])
    await post(f"https://hooks.example:{server.port}/x", resolve=resolve)
    await asyncio.sleep(0)
    assert server.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "54.192.1.1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address", ["", "hooks.example", "fe80::1%eth0", "2606:4700::1111%eth0", "1.2.3", "8.8.8.8/32", "08.8.8.8", "8.8.8.8 "]
)
def test_what_is_no_address_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_forms_are_those_that_this_machine_would_connect_to() -> None:
    """Keeps the list honest: each number is an address to the C library, or there would be nothing to refuse."""
    assert [number for number in NUMBERS if not socket.getaddrinfo(number, 443, flags=socket.AI_NUMERICHOST)] == []
