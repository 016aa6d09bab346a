"""The channels' sections of driftsonde.yaml."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.config import EmailChannel, SlackChannel, load_config, parse_config
from driftsonde.core.errors import ConfigError

MONITOR = {"name": "churn", "drops": "s3://acme/in/", "baseline": "s3://acme/train/", "notify": ["ops"]}
EMAIL = {"type": "email", "host": "mail.acme.example", "from": "drift@acme.example", "to": ["ml@acme.example"]}
DUTY = {"type": "pagerduty", "routing_key_file": "/run/secrets/duty"}
HOOK = {"type": "webhook", "url_file": "/run/secrets/hook"}


def parse(section: dict[str, Any]) -> Any:
    """Return the section of the only channel, checked."""
    return parse_config({"monitors": [MONITOR], "channels": {"ops": section}}, source="test").channels["ops"]


def test_unquoted_times_of_day_are_understood(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "monitors: [{name: churn, drops: 's3://acme/in/', baseline: 's3://acme/train/', notify: [ops]}]\n"
        "channels:\n  ops: {type: slack, webhook_file: /x, severity: warning, remind: 24h, quiet: {from: 22:30, to: 07:05, tz: Europe/Berlin, except: none}}\n"
    )
    channel = load_config(tmp_path / "c.yaml").channels["ops"]
    assert channel.quiet is not None
    assert (channel.quiet.start, channel.quiet.end, channel.quiet.passes) == (time(22, 30), time(7, 5), "none")
    assert (channel.severity, channel.remind) == ("warning", timedelta(hours=24))


def test_channel_without_rules_is_told_everything_at_once() -> None:
    channel = parse(HOOK)
    assert (channel.severity, channel.events, channel.quiet, channel.remind) == ("info", (), None, None)


def test_bot_and_webhook_are_both_slack() -> None:
    bot = parse({"type": "slack", "token_file": "/run/secrets/bot", "channel": "#ml-oncall"})
    assert isinstance(bot, SlackChannel)
    assert (bot.webhook_file, bot.channel, bot.api) == (None, "#ml-oncall", "https://slack.com/api")


def test_mail_is_encrypted_unless_said_otherwise() -> None:
    mail = parse(EMAIL)
    assert isinstance(mail, EmailChannel)
    assert (mail.security, mail.port, mail.sender) == ("starttls", None, "drift@acme.example")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"type": "slack"}, "channels.ops.slack: expected either webhook_file or token_file"),
        ({"type": "slack", "webhook_file": "/a", "token_file": "/b", "channel": "c"}, "expected either webhook_file or token_file"),
        ({"type": "slack", "token_file": "/b"}, "token_file needs it"),
        ({"type": "slack", "webhook_file": "/a", "channel": "c"}, "a webhook knows its own"),
        ({"type": "slack", "token_file": "/b", "channel": "<!channel>"}, "channels.ops.slack.channel"),
        (HOOK | {"severity": "severe"}, "channels.ops.webhook.severity"),
        (HOOK | {"events": ["drift.found"]}, "there is no such event; there are "),
        (HOOK | {"remind": "5m"}, "channels.ops.webhook.remind"),
        (HOOK | {"quiet": {"from": "22:00"}}, "channels.ops.webhook.quiet.to: Field required"),
        (HOOK | {"quiet": {"from": "22:00", "to": "22:00"}}, "from and to are the same"),
        (HOOK | {"quiet": {"from": "25:00", "to": "07:00"}}, "channels.ops.webhook.quiet.from"),
        (HOOK | {"quiet": {"from": 22, "to": "07:00"}}, "expected a time of day"),
        (HOOK | {"quiet": {"from": "22:00", "to": "07:00", "tz": "Mars/Base"}}, "is no time zone known here"),
        (HOOK | {"quiet": {"from": "22:00", "to": "07:00", "tz": "../etc"}}, "is no time zone known here"),
        (DUTY | {"events": ["drift.detected"]}, "without drift.resolved an incident is never closed"),
        (EMAIL | {"username": "drift"}, "expected both username and password_file"),
        (EMAIL | {"username": "drift", "password_file": "/p", "security": "none"}, "would send the password unencrypted"),
        (EMAIL | {"to": ["ml@acme.example\nBcc: x@evil.example"]}, "channels.ops.email.to.0"),
        (EMAIL | {"to": []}, "channels.ops.email.to"),
        (EMAIL | {"from": "Drift <drift@acme.example>"}, "channels.ops.email.from"),
    ],
)
def test_wrong_channel_names_key_and_remedy(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(section)
    assert said in str(caught.value)


def test_token_in_place_of_its_file_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"type": "slack", "token_file": "xoxb-1-hunter2"})
    assert "hunter2" not in str(caught.value)


def test_pagerduty_hears_of_episodes_only_by_default() -> None:
    assert parse(DUTY).events == ("drift.detected", "data.untrusted", "drift.resolved")
