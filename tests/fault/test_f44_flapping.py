"""F44 A monitor flaps, and a producer breaks: hundreds of events at once; and the notifier is killed meanwhile.

Promised: what repeats is told once; a webhook gets at most one message per second, whatever happens; no more duplicates than crashes.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from .reaction import Notifying, Web, drift, rejected, resolved

pytestmark = pytest.mark.slow

EPISODES, REJECTED = 6, 500


def test_flood_is_folded_and_paced(emulator: str, tmp_path: Path, database: str) -> None:
    flapping = [fact for episode in range(1, EPISODES + 1) for fact in (drift(episode=episode), resolved(episode=episode))]
    with Web() as web, Notifying(emulator, tmp_path, database, web, channels={"hook": "webhook"}) as rig:
        rig.publish(*flapping, *(rejected(number) for number in range(REJECTED)))
        rig.until(rig.heard, "all events", 60)
        rig.kill("notifier0")
        rig.start()
        rig.ended("hook", delivered=2 * EPISODES + 1, folded=REJECTED - 1)
        heard = Counter(post.event["id"] for post in web.posts)
        assert len(heard) == 2 * EPISODES + 1
        assert sum(heard.values()) <= len(heard) + 1
        assert min(after.at - before.at for before, after in pairwise(web.posts)) > 0.9
