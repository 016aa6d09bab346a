"""F34 An event is poison, or its handler raises an unknown error.

Promised: poison is dead-lettered at once; the rest is delivered again with growing delay, and after two minutes put aside; those behind it wait, so that order is kept.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from driftsonde.core.events import Event

from .buses import BusKind
from .reaction import NOON, Processes, Retraining, drift

MONITORS = ("odd", "churn")


@pytest.mark.parametrize("bus_kind", ["nats", "sns"])
def test_poison_is_put_aside_at_once(emulator: str, tmp_path: Path, database: str, bus_kind: BusKind) -> None:
    with Retraining(emulator, tmp_path, database, monitors=MONITORS, bus_kind=bus_kind) as rig:
        event = json.loads(Event.of(drift(), time=NOON).to_json())
        unknown = {**event, "type": "driftsonde.v1.drift.imagined"}
        wrong = {**event, "data": {**event["data"], "episode": "seven"}}
        poison = [b"{", b"\xff\xfe", b"", json.dumps(unknown).encode(), json.dumps(wrong).encode(), b"[]"]
        rig.bus.publish_raw("drift.detected.churn", *poison)
        rig.publish(drift())
        rig.ended(done=1)
        assert sorted(letter["reason"] for letter in rig.bus.dead_letters()) == ["bad_event"] * 3 + ["not_json"] * 3
        assert rig.get("retrainer0", "/readyz")[0] == 200
        rig.verify()


@pytest.mark.parametrize("bus_kind", ["nats", "sns"])
def test_poison_that_is_nested_too_deep_is_put_aside_at_once(emulator: str, tmp_path: Path, database: str, bus_kind: BusKind) -> None:
    with Retraining(emulator, tmp_path, database, monitors=MONITORS, bus_kind=bus_kind) as rig:
        rig.bus.publish_raw("drift.detected.churn", b"[" * 100_000)
        rig.until(lambda: len(rig.bus.dead_letters()) == 1, "a dead letter", 2)


@pytest.mark.parametrize("bus_kind", ["nats", "sns"])
def test_event_whose_handler_raises_comes_again_later(emulator: str, tmp_path: Path, database: str, bus_kind: BusKind) -> None:
    with Retraining(emulator, tmp_path, database, monitors=MONITORS, bus_kind=bus_kind) as rig:
        _plant(rig)
        rig.publish(drift("odd"))
        rig.until(lambda: len(_failures(rig)) == 3, "three deliveries")
        gaps = [(after - before).total_seconds() for before, after in pairwise(_failures(rig))]
        assert all(gap > least for gap, least in zip(gaps, (0.9, 1.9), strict=True)), gaps
        assert rig.bus.dead_letters() == []
        _heal(rig)
        rig.ended(done=1)
        rig.verify()


def _plant(rig: Processes) -> None:
    """Have every plan of `odd` be refused by the database."""
    if rig.database.startswith("sqlite"):
        rig.execute("create trigger planted before insert on plan when new.monitor = 'odd' begin select raise(abort, 'planted'); end")
        return
    rig.execute(
        "create function planted() returns trigger language plpgsql as $$ begin"
        " if new.monitor = 'odd' then raise exception 'planted'; end if; return new; end $$",
        "create trigger planted before insert on plan for each row execute function planted()",
    )


def _heal(rig: Processes) -> None:
    rig.execute("drop trigger planted" if rig.database.startswith("sqlite") else "drop trigger planted on plan")


def _failures(rig: Processes) -> list[datetime]:
    lines = [line for line in rig.log().splitlines() if "unexpected error in a handler" in line]
    found = [re.search(r'"timestamp": "([^"]+)"', line) for line in lines]
    return [datetime.fromisoformat(match[1]).astimezone(UTC) for match in found if match]
