"""Who is told, what, and when: the `channels` section."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from driftsonde.core.config.base import Duration, Hours, Section
from driftsonde.core.events import FACTS

Severity = Literal["info", "warning", "critical"]


def _event_type(value: str) -> str:
    if value not in FACTS:
        raise ValueError(f"there is no such event; there are {', '.join(sorted(FACTS))}")
    return value


EventType = Annotated[str, AfterValidator(_event_type)]


class QuietHours(Hours):
    """When a channel is left alone. What is held back is told when they end."""

    passes: Severity | Literal["none"] = Field(
        "critical", alias="except", description="What is at least as urgent is told at once; none: nothing."
    )


class ChannelSection(Section):
    """What every channel has: what it is told, and when."""

    severity: Severity = Field(
        "info", description="Tell what is at least as urgent. The end of an episode is as urgent as its beginning was."
    )
    events: tuple[EventType, ...] = Field(
        (), description="Tell only these, e.g. [drift.detected, drift.resolved]; empty: all that people are told."
    )
    quiet: QuietHours | None = None
    remind: Annotated[Duration, Field(ge=timedelta(minutes=10))] | None = Field(
        None, description="Tell again of an episode that is open, each time after so long, e.g. 24h."
    )


class SlackChannel(ChannelSection):
    """Slack: an incoming webhook, or a bot that answers in threads."""

    type: Literal["slack"]
    webhook_file: Path | None = Field(
        None,
        description="File that holds the webhook URL; never the URL itself. As of every *_file: `env:NAME` or `env:NAME/key` is a variable, or a text of the JSON in it.",
    )
    token_file: Path | None = Field(None, description="In its place: file that holds a bot token with the scope chat:write.")
    channel: str | None = Field(None, pattern=r"^#?[^\s#@<>&]{1,80}$", description="Of a bot: where to, its id or name.")
    api: str = Field("https://slack.com/api", pattern=r"^https?://", description="Of a bot: Slack's Web API.")
    allow_private: bool = Field(False, description="Allow http and private addresses: demo and tests only.")

    @model_validator(mode="after")
    def _one_way(self) -> SlackChannel:
        if (self.webhook_file is None) == (self.token_file is None):
            raise ValueError("expected either webhook_file or token_file")
        if (self.token_file is None) != (self.channel is None):
            raise ValueError("channel belongs to token_file, and token_file needs it; a webhook knows its own")
        return self


class WebhookChannel(ChannelSection):
    """Any HTTP endpoint; gets the event as CloudEvents JSON."""

    type: Literal["webhook"]
    url_file: Path
    secret_file: Path | None = Field(None, description="File that holds the secret by which requests are signed (HMAC-SHA256).")
    allow_private: bool = False


class SnsChannel(ChannelSection):
    """An SNS topic."""

    type: Literal["sns"]
    topic_arn: str = Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:.+$")


class PagerDutyChannel(ChannelSection):
    """A PagerDuty service: an episode is an incident."""

    type: Literal["pagerduty"]
    routing_key_file: Path = Field(description="File that holds the integration key of Events API v2.")
    events: tuple[EventType, ...] = Field(
        ("drift.detected", "data.untrusted", "drift.resolved"), min_length=1, description="What opens and closes incidents."
    )
    api: str = Field("https://events.pagerduty.com", pattern=r"^https?://", description="Of the EU: https://events.eu.pagerduty.com")
    allow_private: bool = False

    @model_validator(mode="after")
    def _incidents_end(self) -> PagerDutyChannel:
        if {"drift.detected", "data.untrusted"} & set(self.events) and "drift.resolved" not in self.events:
            raise ValueError("events: without drift.resolved an incident is never closed")
        return self


MailAddress = Annotated[str, Field(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}$")]


class EmailChannel(ChannelSection):
    """E-mail through an SMTP server."""

    type: Literal["email"]
    host: str = Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$", description="The SMTP server.")
    port: int | None = Field(None, ge=1, le=65_535, description="Default: 465 with tls, 587 with starttls, 25 with none.")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="none: unencrypted, for a relay on the same machine.")
    username: str | None = None
    password_file: Path | None = None
    sender: MailAddress = Field(alias="from")
    to: tuple[MailAddress, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _password_is_safe(self) -> EmailChannel:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("expected both username and password_file, or neither")
        if self.username is not None and self.security == "none":
            raise ValueError("security: none would send the password unencrypted")
        return self


ChannelConfig = Annotated[SlackChannel | WebhookChannel | SnsChannel | PagerDutyChannel | EmailChannel, Field(discriminator="type")]
