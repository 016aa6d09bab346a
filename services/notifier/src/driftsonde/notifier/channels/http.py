"""POST to an address that somebody configured, without letting it reach into our own network.

The name is resolved once, every address it has is checked, and the connection goes to a checked address: a name that
resolves differently a moment later (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from driftsonde.core.errors import ConfigError
from driftsonde.core.ports import Clock, Delivery

TIMEOUT_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 4.0
MAX_STATUS: Final = 1024
"""Bytes of an answer of which little more than the status matters."""
_MAX_ADDRESSES: Final = 2
_TOO_EARLY: Final = frozenset({408, 425, 429})

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # reserved in 2024; Python learns of it in 3.14
# Azure's metadata address is public by its number.
_METADATA = frozenset({ipaddress.IPv4Address("168.63.129.16")})

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host; raises `OSError` when it has none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, the beginning of the text, and how long to wait if the other side said so."""

    status: int
    text: str
    retry_after: float | None

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TOO_EARLY or self.status >= 500

    def failed(self) -> Delivery:
        """Return the delivery of an answer that is no success. The text is left out: it may repeat the address."""
        if self.is_retryable:
            return Delivery("retry", f"HTTP {self.status}", self.retry_after)
        return Delivery("refused", f"HTTP {self.status}")


def http_client(verify: object = None) -> httpx.AsyncClient:
    """Return the client for all posters. Nothing is kept alive: connections are pooled by address, not by name."""
    return httpx.AsyncClient(
        verify=verify or httpx.create_ssl_context(),  # type: ignore[arg-type]  # an SSLContext; tests bring their own
        trust_env=False,  # a proxy would resolve the name again, behind our check
        follow_redirects=False,
        timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
        limits=httpx.Limits(max_keepalive_connections=0),
    )


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Tell whether an IP address is on the public internet, as itself and as the IPv4 address it may carry."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        if ip in _NAT64:  # how IPv6-only networks reach IPv4; public when what it carries is
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        return ip in _GLOBAL_V6 and ip.is_global and ip not in _6TO4 and ip not in _DOCUMENTATION
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip not in _METADATA


class HttpPoster:
    """Posts to one configured URL.

    Args:
        url: where to; a secret, never shown.
        client: from `http_client`.
        clock: tells how far ahead a Retry-After date is.
        key: the configuration key of the URL, for messages.
        allow_private: also http, and addresses that are not public.
        most: bytes of an answer that are read.
        resolve: the resolver.

    Raises:
        ConfigError: naming `key`, when the URL can never be used.
    """

    def __init__(
        self, url: str, client: httpx.AsyncClient, clock: Clock, *,
        key: str, allow_private: bool = False, most: int = MAX_STATUS, resolve: Resolve = resolve_host,
    ) -> None:  # fmt: skip
        self._most = most
        self._client, self._clock, self._resolve, self._allow_private = client, clock, resolve, allow_private
        self._url = _usable(url, key, allow_private)
        self._host = self._url.raw_host.decode("ascii")
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        if not allow_private and not all(map(is_public, _numeric(self._host, self._port))):
            raise ConfigError(f"{key}: the URL's address is not public; allow_private permits it for demo and tests")

    async def post(self, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Answer | Delivery:
        """Post once; a `Delivery` when no answer came."""
        given = {"Content-Type": content_type, **(headers or {})}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):  # over all: httpx's own limits are per read
                addresses = await self._resolve(self._host, self._port)
                if not self._allow_private and not all(map(is_public, addresses)):
                    return Delivery("refused", "address is not public")
                return await self._post_to(addresses[:_MAX_ADDRESSES], body, given)
        except TimeoutError:
            return Delivery("retry", "timeout")
        except (httpx.TransportError, OSError, UnicodeError) as exc:
            return Delivery("retry", type(exc).__name__)  # only the kind: texts may name the address

    async def _post_to(self, addresses: Sequence[str], body: bytes, given: Mapping[str, str]) -> Answer | Delivery:
        for address in addresses:
            try:
                return await self._exchange(address, body, given)
            except (httpx.ConnectError, httpx.ConnectTimeout) as exc:  # nothing was sent: another address may answer
                failure = Delivery("retry", type(exc).__name__)
        return failure if addresses else Delivery("retry", "host has no address")

    async def _exchange(self, address: str, body: bytes, given: Mapping[str, str]) -> Answer:
        ours = {"Host": self._url.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "driftsonde-notifier"}
        headers = {**given, **ours}
        target = self._url.copy_with(host=address)
        # The certificate is checked against the configured name, not against the address.
        async with self._client.stream("POST", target, content=body, headers=headers, extensions={"sni_hostname": self._host}) as answer:
            text = b""
            async for chunk in answer.aiter_raw():
                text += chunk
                if len(text) > self._most:
                    break
            retry_after = self._seconds(answer.headers.get("Retry-After", ""))
            return Answer(answer.status_code, text[: self._most].decode("utf-8", "replace"), retry_after)

    def _seconds(self, header: str) -> float | None:
        """Read Retry-After, seconds or a date; None when there is none that can be read."""
        if header.isascii() and header.isdigit():
            return float(header[:9])
        try:
            return max(0.0, (parsedate_to_datetime(header) - self._clock.now()).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None


def _usable(url: str, key: str, allow_private: bool) -> httpx.URL:
    if not url.isprintable() or any(c in url for c in ' "<>\\^`{|}'):
        raise ConfigError(f"{key}: the URL holds characters that a URL cannot")
    try:
        parsed = httpx.URL(url)
        host = parsed.host  # decoded here, where a wrong xn-- label is found
    except (httpx.InvalidURL, ValueError):
        raise ConfigError(f"{key}: the file does not hold a URL") from None
    if parsed.scheme != "https" and not (allow_private and parsed.scheme == "http"):
        raise ConfigError(f"{key}: the URL must begin with https://")
    if not host or parsed.userinfo:
        raise ConfigError(f"{key}: the URL must name a host, and neither user nor password")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise ConfigError(f"{key}: the URL's port must be between 1 and 65535")
    return parsed.copy_with(fragment=None)


def _numeric(host: str, port: int) -> list[str]:
    """Return the address of a host written as a number in any of the forms C libraries take; nothing for a name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]
