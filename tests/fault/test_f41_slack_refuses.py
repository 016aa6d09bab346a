"""F41 Slack answers 429, 5xx, not in time, or 200 with the text of an error.

Promised: Retry-After is honoured up to 15 minutes, the rest is tried again, the order is kept, and no other channel notices.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from .reaction import Answer, Notifying, Web, drift, resolved

pytestmark = pytest.mark.slow

CHANNELS = {"slack": "slack", "hook": "webhook"}


def test_slack_is_tried_again_in_order(emulator: str, tmp_path: Path, database: str) -> None:
    with Web() as web, Notifying(emulator, tmp_path, database, web, channels=CHANNELS) as rig:
        web.next["/slack"] = [Answer(504, delay=11.0), Answer(429, "rate_limited", {"Retry-After": "3"})]
        rig.publish(drift(), resolved())
        rig.ended("slack", delivered=2)
        posts, others = web.at("/slack"), web.at("/hook")
        assert [post.status for post in posts] == [504, 429, 200, 200]
        assert posts[1].at - posts[0].at > 10.0
        assert posts[2].at - posts[1].at >= 3.0
        assert "drift.detected" in str(posts[2].body)
        assert "drift.resolved" in str(posts[3].body)
        assert len(others) == 2
        assert others[1].at < posts[1].at
        rig.verify("hook")


def test_error_text_is_a_refusal_and_a_long_wait_is_cut(emulator: str, tmp_path: Path, database: str) -> None:
    with Web() as web, Notifying(emulator, tmp_path, database, web, channels=CHANNELS) as rig:
        web.next["/slack"] = [Answer(503), Answer(200, "invalid_payload"), Answer(429, headers={"Retry-After": "86400"})]
        rig.publish(drift(episode=1))
        rig.ended("slack", refused=1)
        rig.publish(drift(episode=2), drift(episode=3))
        rig.until(lambda: len(web.at("/slack")) == 3, "the next message")
        rig.ended("hook", delivered=3)
        rig.until(lambda: rig.query("select detail from delivery where detail = 'HTTP 429'"), "its mark")
        ((tried, due),) = rig.query("select tried_at, due_at from delivery where detail = 'HTTP 429'")
        assert (datetime.fromisoformat(str(due)) - datetime.fromisoformat(str(tried))).total_seconds() <= 901
        assert len(web.at("/slack")) == 3  # the whole channel keeps quiet
        assert rig.query("select detail from delivery where state = 'refused'") == [("HTTP 200: invalid_payload",)]
        rig.verify("hook")
