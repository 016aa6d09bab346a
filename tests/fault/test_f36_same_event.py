"""F36 The same drift event comes many times at once, to two retrainers.

Promised: one plan and one job for each step.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .buses import BusKind
from .reaction import Retraining, drift

COPIES = 100


@pytest.mark.parametrize("bus_kind", ["nats", "sns"])
def test_many_deliveries_make_one_job(emulator: str, tmp_path: Path, database: str, bus_kind: BusKind) -> None:
    replicas = 1 if database.startswith("sqlite") else 2
    with Retraining(emulator, tmp_path, database, monitors=("churn", "fraud"), replicas=replicas, bus_kind=bus_kind) as rig:
        rig.publish(drift("churn"), drift("fraud"), copies=COPIES)
        rig.ended(done=2)
        rig.publish(drift("churn"), copies=COPIES)
        rig.until(rig.heard, "all deliveries")
        assert len(rig.jobs()) == 6
        assert [fact["type"] for fact in rig.said()] == ["plan.accepted", "training.started", "training.succeeded", "model.promoted"]
        rig.verify()
