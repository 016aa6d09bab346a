"""Slack with a bot token: threads, and the errors of its Web API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from driftsonde.core.events import PlanRefused, TrainingFailed
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels.http import HttpPoster, http_client
from driftsonde.notifier.channels.slack import MAX_ANSWER, SlackBot
from driftsonde.notifier.store import Claim

from .support import SECOND, TRUST, Reply, Rig, Server, detected, rejected, resolved, scripted_server

TOKEN = "xoxb-SECRET-SECRET"
HOUR = timedelta(hours=1)
FAILED = TrainingFailed(monitor="churn", episode=7, plan="p", job="j")


def accepted(ts: str) -> Reply:
    """Return Slack's answer to a message that it took; it repeats the message."""
    return Reply(200, json.dumps({"ok": True, "channel": "C012AB3CD", "ts": ts, "message": {"text": "ü" * 15_000}}))


def error(word: str) -> Reply:
    """Return Slack's answer to a message that it did not take."""
    return Reply(200, json.dumps({"ok": False, "error": word}))


@pytest.fixture
async def bot(tmp_path: Path, server: Server) -> AsyncIterator[Rig]:
    """A notifier whose channel `ops` is a bot of the Slack played by `server`."""
    async with http_client(TRUST) as client:
        clock = FakeClock()
        poster = HttpPoster(server.url("/api/chat.postMessage"), client, clock, key="channels.ops.api", allow_private=True, most=MAX_ANSWER)
        rig = Rig(tmp_path, {"ops": SlackBot(poster, TOKEN, "C012AB3CD")}, clock=clock, remind="24h")
        yield rig
        rig.close()


async def test_bot_posts_blocks_to_its_channel_with_the_token(bot: Rig, server: Server) -> None:
    server.replies.append(accepted("1767268800.000100"))
    await bot.tell(detected())
    await bot.deliver()
    (request,) = server.requests
    sent = request.json()
    assert request.path == "/api/chat.postMessage"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert (sent["channel"], sent["unfurl_links"], sent["blocks"][0]["type"]) == ("C012AB3CD", False, "header")
    assert "thread_ts" not in sent
    assert bot.log() == [("delivered", "")]


async def test_later_messages_of_an_episode_go_to_its_thread(bot: Rig, server: Server) -> None:
    server.replies.extend([accepted(f"1767268800.00010{n}") for n in range(6)])
    await bot.tell(detected(), detected(8))
    await bot.deliver(within=5 * SECOND)
    await bot.later(25 * HOUR)
    await bot.tell(FAILED, resolved())
    await bot.deliver(within=5 * SECOND)
    sent = [(request.json().get("thread_ts"), request.json().get("reply_broadcast")) for request in server.requests]
    assert sent == [
        (None, None), (None, None), ("1767268800.000100", True), ("1767268800.000101", True), ("1767268800.000100", True), ("1767268800.000100", True),
    ]  # fmt: skip


async def test_reply_of_less_weight_is_shown_in_the_thread_only(bot: Rig, server: Server) -> None:
    server.replies.extend([accepted("1.0"), accepted("1.1")])
    plan = {"monitor": "churn", "episode": 7, "plan": "p", "reason": "untrusted"}
    await bot.tell(detected(), PlanRefused.model_validate(plan))
    await bot.deliver(within=5 * SECOND)
    assert server.requests[1].json()["thread_ts"] == "1.0"
    assert server.requests[1].json()["reply_broadcast"] is False


async def test_messages_of_no_episode_make_no_thread(bot: Rig, server: Server) -> None:
    server.replies.extend([accepted("1.0"), accepted("1.1")])
    await bot.tell(rejected("a"), rejected("b", "too_large"))
    await bot.deliver(within=5 * SECOND)
    assert ["thread_ts" in request.json() for request in server.requests] == [False, False]


async def test_thread_whose_beginning_was_deleted_is_begun_anew(bot: Rig, server: Server) -> None:
    server.replies.extend([accepted("1.0"), error("thread_not_found"), accepted("2.0"), accepted("2.1")])
    await bot.tell(detected(), FAILED, resolved())
    await bot.deliver(within=5 * SECOND)
    assert [request.json().get("thread_ts") for request in server.requests] == [None, "1.0", None, "2.0"]
    assert [state for state, _ in bot.log()] == ["delivered"] * 3


async def test_thread_of_another_place_is_not_used(bot: Rig, server: Server) -> None:
    server.replies.append(accepted("1.0"))
    await bot.tell(detected())
    claim = await bot.database.run(bot.store.claim, "ops", SECOND)
    assert isinstance(claim, Claim)
    await bot.database.run(bot.store.finish, claim, "delivered", "", "a", begun="1.0")
    assert await bot.database.look(bot.store.thread, claim, "a") == "1.0"
    assert await bot.database.look(bot.store.thread, claim, "b") is None


@pytest.mark.parametrize("word", ["ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"])
async def test_passing_error_of_the_api_is_retried(bot: Rig, server: Server, word: str) -> None:
    server.replies.extend([error(word), accepted("1.0")])
    await bot.tell(detected())
    await bot.deliver()
    assert bot.log() == [("pending", word)]
    await bot.deliver(within=5 * SECOND)
    assert bot.log() == [("delivered", "")]


@pytest.mark.parametrize(
    "word", ["channel_not_found", "not_in_channel", "is_archived", "invalid_auth", "token_revoked", "msg_blocks_too_long"]
)
async def test_lasting_error_of_the_api_is_refused(bot: Rig, server: Server, word: str) -> None:
    server.replies.append(error(word))
    await bot.tell(detected())
    await bot.deliver(within=HOUR)
    assert bot.log() == [("refused", word)]
    assert len(server.requests) == 1
    assert bot.count("channel_refused", channel="ops") == 1


async def test_rate_limit_pauses_the_whole_channel(bot: Rig, server: Server) -> None:
    server.replies.append(Reply(429, json.dumps({"ok": False, "error": "ratelimited"}), {"Retry-After": "30"}))
    server.replies.extend([accepted("1.0"), accepted("1.1")])
    await bot.tell(detected(), detected(8))
    await bot.deliver(within=29 * SECOND)
    assert len(server.requests) == 1
    await bot.deliver(within=5 * SECOND)
    assert [state for state, _ in bot.log()] == ["delivered", "delivered"]


@pytest.mark.parametrize(
    ("reply", "row"),
    [
        (Reply(200, "<html>proxy</html>"), ("pending", "the answer is not Slack's")),
        (Reply(200, "[]"), ("pending", "the answer is not Slack's")),
        (Reply(503, ""), ("pending", "HTTP 503")),
        (Reply(404, ""), ("refused", "HTTP 404")),
        (Reply(200, json.dumps({"ok": False, "error": f"no {TOKEN}"})), ("refused", "no reason given")),
        (Reply(200, json.dumps({"ok": "yes"})), ("refused", "no reason given")),
    ],
)
async def test_any_other_answer_is_no_success(bot: Rig, server: Server, reply: Reply, row: tuple[str, str]) -> None:
    server.replies.append(reply)
    await bot.tell(detected())
    await bot.deliver()
    assert bot.log() == [row]


async def test_token_is_in_no_log_table_or_event(bot: Rig, server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.replies.extend([error(f"x{TOKEN}"), Reply(500, TOKEN), accepted(TOKEN)])
    await bot.tell(detected(), detected(8), detected(9))
    await bot.deliver(within=HOUR)
    out, err = capfd.readouterr()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("notifier.db*"))
    assert len(server.requests) >= 4
    assert "SECRET" not in out + err + f"{bot.log()} {bot.announced()}"
    assert b"SECRET" not in stored


async def test_redirect_is_not_followed_with_the_token(bot: Rig, server: Server) -> None:
    async with scripted_server() as other:
        server.replies.append(Reply(302, "", {"Location": other.url()}))
        await bot.tell(detected())
        await bot.deliver(within=HOUR)
        assert other.requests == []
    assert bot.log() == [("refused", "HTTP 302")]
