"""The bus, chosen by its URL: NATS JetStream, or SNS and SQS. FastStream is imported here and nowhere else."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from urllib.parse import urlsplit

from driftsonde.core.errors import ConfigError
from driftsonde.core.lifecycle import Health
from driftsonde.core.ports import Bus
from driftsonde.core.settings import mask_url


class RunningBus(Bus, Protocol):
    """A bus that a service starts and stops."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Connect, consume while the block runs, then finish what is in hand."""
        ...


def connect_bus(url: str, *, health: Health | None = None) -> RunningBus:
    """Return the bus that a URL names; subscribe, then `async with bus.running()`.

    Raises:
        ConfigError: for a scheme that no bus has, or an address that is not whole.
    """
    if url.startswith("sns://"):
        from driftsonde.core.bus.sns import SnsBus

        return SnsBus(url, health=health)
    if not all(map(_usable, url.split(","))):
        raise ConfigError(
            f"bus_url: {mask_url(url)!r} is not a bus; expected nats://host:port, / and @ in a password as %2F and %40, or sns://topic-arn?queue=…"
        )
    from driftsonde.core.bus.nats import NatsBus

    return NatsBus(url, health=health)


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # what is wrong here the client would repeat in its error, part of a password perhaps
    except ValueError:
        return False
    return parts.scheme in ("nats", "tls") and bool(parts.hostname)


__all__ = ["RunningBus", "connect_bus"]
