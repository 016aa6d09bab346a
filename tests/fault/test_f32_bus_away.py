"""F32 The bus is away when something is to be published.

Promised: verdicts go on, the outbox grows and tells its age, and everything is published in order once the bus is back.
"""

from __future__ import annotations

import pytest

from .conftest import MakeRig
from .harness import parquet, rows


@pytest.mark.parametrize("bus_kind", ["nats", "sns"])
def test_events_wait_for_the_bus(make_rig: MakeRig) -> None:
    rig = make_rig(replicas=1).start()
    rig.drop("quiet.parquet", parquet(rows(1)))
    rig.settled()
    rig.kill_bus()
    for number in range(4):
        rig.drop(f"{number}.parquet", parquet(rows(number, shift=2.0)))
    rig.until(lambda: len(rig.verdicts()) == 5, "verdicts without a bus")
    rig.until(lambda: rig.get("detector0", "/readyz")[0] == 503, "not ready")
    waiting = rig.query("select count(*) from outbox where published_at is null")[0][0]
    assert waiting >= 1
    assert rig.get("detector0", "/livez")[0] == 200
    rig.start_bus()
    rig.settled()
    assert rig.query("select event_id from outbox order by id") == rig.query("select event_id from outbox order by published_at, id")
    rig.until(lambda: rig.query("select count(*) from timeline") == rig.query("select count(*) from outbox"), "all to be heard")
    rig.verify()
