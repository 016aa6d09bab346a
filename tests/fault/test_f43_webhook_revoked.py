"""F43 A webhook is revoked: 403, 404 or 410.

Promised: messages are parked after one try each, one alarm tells of it, and a new address in the configuration has them sent, in order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .reaction import Answer, Notifying, Web, drift, resolved

pytestmark = pytest.mark.slow

REVOKED = {"forbidden": 403, "missing": 404, "gone": 410}
FACTS = (drift(episode=1), resolved(episode=1), drift(episode=2))


def test_parked_messages_go_to_the_new_address(emulator: str, tmp_path: Path, database: str) -> None:
    channels = dict.fromkeys((*REVOKED, "well"), "webhook")
    with Web() as web, Notifying(emulator, tmp_path, database, web, channels=channels) as rig:
        web.always |= {f"/{name}": Answer(status, "no_service") for name, status in REVOKED.items()}
        rig.publish(*FACTS)
        rig.ended("well", delivered=3)
        for name in REVOKED:
            rig.ended(name, refused=3)
            assert len(web.at(f"/{name}")) == 3
            assert rig.metric("channel_refused", name) == 1
        alarms = [line for line in rig.log().splitlines() if "channel refuses messages" in line]
        assert len(alarms) == len(REVOKED)

        for name in REVOKED:
            rig.point(name, f"{web.url}/new-{name}")
        rig.restart()
        for name in REVOKED:
            rig.ended(name, delivered=3)
            ours = [post.event["data"] for post in web.at(f"/new-{name}") if post.event["data"]["episode"] == 1]
            assert [fact["sequence"] for fact in ours] == [1, 2]
            assert len(web.at(f"/new-{name}")) == 3
            assert rig.metric("channel_refused", name) == 0
        rig.verify("well", *(f"new-{name}" for name in REVOKED))
