"""Each kind of channel against a scripted server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from driftsonde.core.config import parse_config
from driftsonde.core.errors import ConfigError
from driftsonde.core.events import parse_event
from driftsonde.core.ports import Delivery
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels import open_channels
from driftsonde.notifier.channels.sns import Sns, sns_client

from .support import SECRET, Reply, Server, detected, event, http_rig

TOPIC = "arn:aws:sns:eu-west-1:123456789012:drift"
ACCEPTED = "<PublishResponse xmlns='http://sns.amazonaws.com/doc/2010-03-31/'><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"


def refusal(status: int, code: str) -> Reply:
    """Return SNS's answer to a bad request."""
    return Reply(status, f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>")


@pytest.fixture
def aws(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that SNS clients reach, by the environment."""
    for name, value in {"ENDPOINT_URL_SNS": server.url("/"), "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return server


async def publish(topic: str = TOPIC) -> Delivery:
    """Send one event to a topic."""
    async with AsyncExitStack() as stack:
        return await Sns(await sns_client("channels.t.topic_arn", topic, stack), topic).send(event(detected()))


async def test_slack_gets_blocks_and_fallback_text(tmp_path: Path, server: Server) -> None:
    async with http_rig(tmp_path, {"ops": server}) as rig:
        await rig.tell(detected())
        await rig.deliver()
    (request,) = server.requests
    assert request.path == f"/services/{SECRET}"
    assert request.headers["content-type"].startswith("application/json")
    assert "Drift: churn" in request.json()["text"]
    assert request.json()["blocks"][0]["type"] == "header"


async def test_webhook_gets_the_cloudevent_itself(tmp_path: Path, server: Server) -> None:
    server.replies.append(Reply(204, ""))
    async with http_rig(tmp_path, {}, {"hook": server}) as rig:
        await rig.tell(detected())
        await rig.deliver("hook")
        assert rig.log("hook") == [("delivered", "")]
    (request,) = server.requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert parse_event(request.body) == event(detected())


async def test_webhook_follows_status_not_text(tmp_path: Path, server: Server) -> None:
    server.replies.extend([Reply(502, "ok"), Reply(410, "ok")])
    async with http_rig(tmp_path, {}, {"hook": server}) as rig:
        await rig.tell(detected())
        await rig.deliver("hook", within=timedelta(0))
        assert rig.log("hook") == [("pending", "HTTP 502")]


async def test_sns_message_has_subject_and_attributes(aws: Server) -> None:
    aws.replies.append(Reply(200, ACCEPTED, {"Content-Type": "text/xml"}))
    assert await publish() == Delivery("delivered")
    sent = {name: values[0] for name, values in parse_qs(aws.requests[0].body.decode()).items()}
    assert sent["TopicArn"] == TOPIC
    assert sent["Subject"] == "Drift: churn, 1 column moved"
    assert "0.312" in sent["Message"]
    entries = [f"MessageAttributes.entry.{n}" for n in (1, 2, 3)]
    attributes = {sent[f"{entry}.Name"]: sent[f"{entry}.Value.StringValue"] for entry in entries}
    assert attributes == {"monitor": "churn", "type": "drift.detected", "severity": "warning"}


async def test_fifo_topic_gets_group_and_deduplication_id(aws: Server) -> None:
    aws.replies.append(Reply(200, ACCEPTED, {"Content-Type": "text/xml"}))
    await publish(f"{TOPIC}.fifo")
    sent = parse_qs(aws.requests[0].body.decode())
    assert sent["MessageGroupId"] == ["churn/7"]
    assert sent["MessageDeduplicationId"] == [event(detected()).id]


@pytest.mark.parametrize(("status", "code"), [(404, "NotFound"), (403, "AuthorizationError"), (400, "InvalidParameter")])
async def test_missing_or_forbidden_topic_is_refused(aws: Server, status: int, code: str) -> None:
    aws.replies.append(refusal(status, code))
    assert await publish() == Delivery("refused", code)


@pytest.mark.parametrize(("status", "code"), [(400, "Throttling"), (429, "Throttled"), (400, "KMSThrottling")])
async def test_throttled_topic_is_retried_later(aws: Server, status: int, code: str) -> None:
    aws.replies.extend([refusal(status, code)] * 3)
    answer = await publish()
    assert (answer.outcome, answer.detail) == ("retry", code)
    assert answer.retry_after


async def test_expired_credentials_are_retried(aws: Server) -> None:
    aws.replies.append(refusal(403, "ExpiredToken"))
    assert await publish() == Delivery("retry", "ExpiredToken")


async def test_sns_without_credentials_is_retried(aws: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert await publish() == Delivery("retry", "NoCredentialsError")


def channels(tmp_path: Path, **extra: Any) -> Any:
    """Return one channel of each kind."""
    (tmp_path / "url").write_text(f"https://hooks.example/{SECRET}\n")
    (tmp_path / "key").write_text("a-key-that-is-SECRET\n")
    file, key = str(tmp_path / "url"), str(tmp_path / "key")
    monitor = {"name": "churn", "drops": "s3://acme/in/", "baseline": "s3://acme/train/"}
    raw = {
        "slack": {"type": "slack", "webhook_file": file}, "hook": {"type": "webhook", "url_file": file, "allow_private": True},
        "topic": {"type": "sns", "topic_arn": TOPIC}, "bot": {"type": "slack", "token_file": key, "channel": "C012AB3CD"},
        "signed": {"type": "webhook", "url_file": file, "secret_file": key}, "duty": {"type": "pagerduty", "routing_key_file": key},
        "mail": {"type": "email", "host": "mail.example", "username": "me", "password_file": key, "from": "a@b.example", "to": ["c@d.example"]},
        **extra,
    }  # fmt: skip
    return parse_config({"monitors": [monitor], "channels": raw}, source="test").channels


async def test_every_kind_of_channel_is_opened(tmp_path: Path, aws: Server, capsys: pytest.CaptureFixture[str]) -> None:
    async with AsyncExitStack() as stack:
        links = await open_channels(channels(tmp_path), FakeClock(), stack)
    assert [(link.name, type(link.channel).__name__, link.pace.total_seconds()) for link in links] == [
        ("slack", "Slack", 1), ("hook", "Webhook", 1), ("topic", "Sns", 0), ("bot", "SlackBot", 1), ("signed", "Webhook", 1),
        ("duty", "PagerDuty", 1), ("mail", "Email", 1),
    ]  # fmt: skip
    assert "allow" not in repr(links)
    assert "SECRET" not in repr(links)
    assert "for demo and tests only" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "slack", "channel": "c", "api": "http://slack.com/api"}, {"type": "slack", "channel": "c", "api": "https://169.254.169.254/"},
        {"type": "pagerduty", "api": "http://events.pagerduty.com"}, {"type": "pagerduty", "api": "https://10.0.0.1"},
    ],
)  # fmt: skip
async def test_own_address_of_an_api_must_be_public_and_encrypted(tmp_path: Path, wrong: dict[str, Any]) -> None:
    (tmp_path / "key").write_text("a-key-that-is-SECRET\n")
    file = "token_file" if wrong["type"] == "slack" else "routing_key_file"
    section = channels(tmp_path, wrong=wrong | {file: str(tmp_path / "key")})["wrong"]
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=r"channels\.wrong\.api: the URL"):
            await open_channels({"wrong": section}, FakeClock(), stack)


async def test_changed_password_is_another_address(tmp_path: Path) -> None:
    mail = {"mail": channels(tmp_path)["mail"]}
    found = set()
    for password in ("one-SECRET", "two-SECRET", "one-SECRET"):
        (tmp_path / "key").write_text(password)
        async with AsyncExitStack() as stack:
            found.add((await open_channels(mail, FakeClock(), stack))[0].address)
    assert len(found) == 2
    assert all(len(address) == 32 for address in found)


async def test_unreadable_file_names_the_channel(tmp_path: Path) -> None:
    wrong = channels(tmp_path, pager={"type": "webhook", "url_file": str(tmp_path / "none")})
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=r"channels\.pager\.url_file: cannot read .*/none"):
            await open_channels({"pager": wrong["pager"]}, FakeClock(), stack)


async def test_secrets_are_in_no_log_error_or_event(tmp_path: Path, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    echo = f"Cannot POST /services/{SECRET}"
    server.replies.extend(
        [Reply(500, echo), Reply(429, echo), Reply(302, echo, {"Location": server.url()}), Reply(404, echo), Reply(200, echo)]
    )
    async with http_rig(tmp_path, {"ops": server}) as rig:
        await rig.tell(*(detected(episode) for episode in range(1, 5)))
        await rig.deliver(within=timedelta(hours=2))
        seen = f"{rig.log()} {rig.announced()} {rig.health.problems()} {[vars(queue) for queue in rig.queues.values()]}"
    out, err = capfd.readouterr()
    assert len(server.requests) >= 5
    assert "SECRET" not in seen + out + err
