"""Builds the configured channels; each is a `ports.Channel` that tries once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

import httpx

from driftsonde.core.config import ChannelConfig, EmailChannel, PagerDutyChannel, SlackChannel, SnsChannel, WebhookChannel
from driftsonde.core.log import get_logger
from driftsonde.core.names import digest
from driftsonde.core.ports import Channel, Clock
from driftsonde.notifier.channels.email import Email
from driftsonde.notifier.channels.http import MAX_STATUS, HttpPoster, http_client
from driftsonde.notifier.channels.pagerduty import ENQUEUE, PagerDuty
from driftsonde.notifier.channels.secrets import read_secret, read_url
from driftsonde.notifier.channels.slack import MAX_ANSWER, Slack, SlackBot
from driftsonde.notifier.channels.sns import Sns, sns_client
from driftsonde.notifier.channels.webhook import Signer, Webhook
from driftsonde.notifier.deliveries import Link

log = get_logger(__name__)

WEBHOOK_PACE: Final = timedelta(seconds=1)
UNPACED: Final = timedelta(0)
_SHORTEST_SECRET: Final = 16


async def open_channels(configured: Mapping[str, ChannelConfig], clock: Clock, stack: AsyncExitStack) -> list[Link]:
    """Return every channel, ready; what they hold is given back when `stack` closes.

    Raises:
        ConfigError: naming the channel's key when its address or secret cannot be read or used.
    """
    http = await stack.enter_async_context(http_client())
    return [await _open(name, section, http, clock, stack) for name, section in configured.items()]


async def _open(name: str, section: ChannelConfig, http: httpx.AsyncClient, clock: Clock, stack: AsyncExitStack) -> Link:
    key = f"channels.{name}"
    if isinstance(section, SnsChannel):
        client = await sns_client(f"{key}.topic_arn", section.topic_arn, stack)
        return Link(name, Sns(client, section.topic_arn), UNPACED, digest(section.topic_arn), section.quiet)
    if isinstance(section, EmailChannel):
        password = read_secret(f"{key}.password_file", section.password_file) if section.password_file else None
        address = digest(section.host, section.port, section.username, _fingerprint(password), *section.to)
        return Link(name, Email(section, password, clock), WEBHOOK_PACE, address, section.quiet)
    if section.allow_private:
        log.warning("channel may use http and private addresses; for demo and tests only", channel=name)
    channel, address = _posting(key, section, http, clock)
    return Link(name, channel, WEBHOOK_PACE, address, section.quiet)


def _posting(
    key: str, section: SlackChannel | WebhookChannel | PagerDutyChannel, http: httpx.AsyncClient, clock: Clock
) -> tuple[Channel, str]:
    """Return a channel that posts, and a digest of where it leads and of who it is there."""

    def poster(url: str, part: str, most: int = MAX_STATUS) -> HttpPoster:
        return HttpPoster(url, http, clock, key=f"{key}.{part}", allow_private=section.allow_private, most=most)

    if isinstance(section, PagerDutyChannel):
        url, routing_key = f"{section.api.rstrip('/')}{ENQUEUE}", read_secret(f"{key}.routing_key_file", section.routing_key_file)
        return PagerDuty(poster(url, "api"), routing_key), digest(url, routing_key)
    if isinstance(section, WebhookChannel):
        url = read_url(f"{key}.url_file", section.url_file)
        if section.secret_file is None:
            return Webhook(poster(url, "url_file")), digest(url)
        secret = read_secret(f"{key}.secret_file", section.secret_file, least=_SHORTEST_SECRET)
        return Webhook(poster(url, "url_file"), Signer(secret.encode(), clock)), digest(url, _fingerprint(secret))
    if section.token_file and section.channel:
        url, token = f"{section.api.rstrip('/')}/chat.postMessage", read_secret(f"{key}.token_file", section.token_file)
        return SlackBot(poster(url, "api", MAX_ANSWER), token, section.channel), digest(url, token, section.channel)
    assert section.webhook_file  # the configuration asks for one of the two
    url = read_url(f"{key}.webhook_file", section.webhook_file)
    return Slack(poster(url, "webhook_file")), digest(url)


def _fingerprint(secret: str | None) -> str:
    """Return what differs when a secret does: what was refused is sent again when a restart finds another one.

    It becomes part of what is stored, and people choose passwords: it is slow to guess from.
    """
    return hashlib.scrypt((secret or "").encode(), salt=b"driftsonde channel", n=2**14, r=8, p=1).hex()
