"""F33 The bus delivers an event again, after the time in which it would know it for a duplicate.

Promised: every consumer knows an event by its id for 30 days: no second plan, job or message, also after a restart.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from .reaction import Notifying, Retraining, Web, drift, resolved

pytestmark = pytest.mark.slow

OLD = "0" * 32


def test_retrainer_knows_an_event_by_its_id(emulator: str, tmp_path: Path, database: str) -> None:
    with Retraining(emulator, tmp_path, database) as rig:
        rig.publish(drift())
        rig.ended(done=1)
        before = rig.query("select * from outbox"), rig.jobs()
        rig.execute(f"insert into inbox values ('{OLD}', '{datetime.now(UTC) - timedelta(days=31):%F %T}')")
        rig.restart()
        rig.until(lambda: (OLD,) not in rig.query("select event_id from inbox"), "forgetting")
        rig.publish(drift(), copies=5)
        rig.until(rig.heard, "all deliveries")
        assert (rig.query("select * from outbox"), rig.jobs()) == before
        rig.verify()


def test_notifier_knows_an_event_by_its_id(emulator: str, tmp_path: Path, database: str) -> None:
    with Web() as web, Notifying(emulator, tmp_path, database, web, channels={"hook": "webhook"}) as rig:
        rig.publish(drift())
        rig.ended("hook", delivered=1)
        rig.restart()
        rig.publish(drift(), copies=5)
        rig.publish(resolved())  # queued behind the copies, so it comes last
        rig.ended("hook", delivered=2)
        assert rig.log().count('"outcome": "duplicate"') == 5
        assert len(web.posts) == 2
        rig.verify("hook")
