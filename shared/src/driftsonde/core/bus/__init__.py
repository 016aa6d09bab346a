"""The bus: FastStream is imported here and nowhere else."""

from __future__ import annotations

from driftsonde.core.bus.nats import NatsBus
from driftsonde.core.errors import ConfigError
from driftsonde.core.lifecycle import Health
from driftsonde.core.settings import mask_url


def connect_bus(url: str, *, health: Health | None = None) -> NatsBus:
    """Return the bus that a URL names; subscribe, then `async with bus.running()`.

    Raises:
        ConfigError: for a scheme that no bus has.
    """
    if url.startswith(("nats://", "tls://")):
        return NatsBus(url, health=health)
    raise ConfigError(f"bus_url: {mask_url(url)!r} is not a bus; expected nats://host:port")


__all__ = ["NatsBus", "connect_bus"]
