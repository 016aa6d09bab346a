"""Builds the configured channels; each is a `ports.Channel` that tries once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final

from driftsonde.core.config import ChannelConfig, SnsChannel
from driftsonde.core.errors import ConfigError
from driftsonde.core.log import get_logger
from driftsonde.core.names import digest
from driftsonde.core.ports import Clock
from driftsonde.notifier.channels.http import HttpPoster, http_client
from driftsonde.notifier.channels.slack import Slack
from driftsonde.notifier.channels.sns import Sns, sns_client
from driftsonde.notifier.channels.webhook import Webhook
from driftsonde.notifier.deliveries import Link

log = get_logger(__name__)

WEBHOOK_PACE: Final = timedelta(seconds=1)
_MAX_URL_BYTES: Final = 4096


async def open_channels(configured: Mapping[str, ChannelConfig], clock: Clock, stack: AsyncExitStack) -> list[Link]:
    """Return every channel, ready; what they hold is given back when `stack` closes.

    Raises:
        ConfigError: naming the channel's key when its address cannot be read or used.
    """
    links = []
    http = await stack.enter_async_context(http_client())
    for name, section in configured.items():
        if isinstance(section, SnsChannel):
            client = await sns_client(f"channels.{name}.topic_arn", section.topic_arn, stack)
            links.append(Link(name, Sns(client, section.topic_arn), timedelta(0), digest(section.topic_arn)))
            continue
        key, path = ("webhook_file", section.webhook_file) if section.type == "slack" else ("url_file", section.url_file)
        url = read_url(f"channels.{name}.{key}", path)
        poster = HttpPoster(url, http, clock, key=f"channels.{name}.{key}", allow_private=section.allow_private)
        if section.allow_private:
            log.warning("channel may use http and private addresses; for demo and tests only", channel=name)
        channel = Slack(poster) if section.type == "slack" else Webhook(poster)
        links.append(Link(name, channel, WEBHOOK_PACE, digest(url)))
    return links


def read_url(key: str, path: Path) -> str:
    """Read a webhook address from its file; neither the address nor a part of it is in any message.

    Raises:
        ConfigError: naming the channel's key and the file.
    """
    if ":/" in str(path):  # an address pasted where its file belongs must not be printed as a path
        raise ConfigError(f"{key}: is an address itself; store it in a file and name the file here")
    try:
        with path.open("rb") as file:
            url = file.read(_MAX_URL_BYTES + 1).decode("ascii").strip()
    except OSError as exc:
        raise ConfigError(f"{key}: cannot read {path}: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} does not hold a URL") from None
    if not url or len(url) >= _MAX_URL_BYTES or len(url.split()) != 1:
        raise ConfigError(f"{key}: {path} must hold one URL and nothing else")
    return url
