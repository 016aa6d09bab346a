"""F35 The bus loses what it had acknowledged.

Promised: what is open is published again, so that nobody misses it for ever.
"""

from __future__ import annotations

import pytest

from .conftest import MakeRig
from .harness import parquet, rows


@pytest.mark.parametrize("bus_kind", ["nats", "sns"])
def test_open_episode_is_published_again(make_rig: MakeRig) -> None:
    rig = make_rig(replicas=1, environment={"DRIFTSONDE_REPUBLISH_EVERY": "3s"}).start()
    rig.drop("quiet.parquet", parquet(rows(1)))
    rig.drop("drifted.parquet", parquet(rows(2, shift=2.0)))
    rig.settled()
    ((event, attempt),) = rig.query("select o.event_id, o.attempt from outbox o join episode e on e.event_id = o.event_id where e.is_open")
    rig.kill_bus()
    rig.bus.forget()
    with rig.engine.begin() as connection:  # a consumer that had not heard of it yet
        connection.exec_driver_sql("delete from timeline")
    rig.start_bus()
    rig.until(lambda: (event,) in rig.query("select event_id from timeline"), "the event once more")
    assert rig.query(f"select attempt from outbox where event_id = '{event}'")[0][0] > attempt
    rig.verify(forgotten=True)
