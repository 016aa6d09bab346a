"""The bus: FastStream is imported here and nowhere else."""

from __future__ import annotations

from urllib.parse import urlsplit

from driftsonde.core.bus.nats import NatsBus
from driftsonde.core.errors import ConfigError
from driftsonde.core.lifecycle import Health
from driftsonde.core.settings import mask_url


def connect_bus(url: str, *, health: Health | None = None) -> NatsBus:
    """Return the bus that a URL names; subscribe, then `async with bus.running()`.

    Raises:
        ConfigError: for a scheme that no bus has.
    """
    if not all(map(_usable, url.split(","))):
        raise ConfigError(f"bus_url: {mask_url(url)!r} is not a bus; expected nats://host:port, / and @ in a password as %2F and %40")
    return NatsBus(url, health=health)


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # what is wrong here the client would repeat in its error, part of a password perhaps
    except ValueError:
        return False
    return parts.scheme in ("nats", "tls") and bool(parts.hostname)


__all__ = ["NatsBus", "connect_bus"]
