"""F31 The clock is an hour off, or jumps; drops come late.

Promised: windows go by the times in the data, so verdicts are those of a right clock; what comes late is counted, and corrected by an event.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from .conftest import MakeRig
from .harness import ROWS, START, Rig, parquet, rows

WRONG = """
import os, sys
from datetime import timedelta
from pathlib import Path
from driftsonde.core.lifecycle import SystemClock
right, off = SystemClock.now, Path(os.environ["CLOCK"])
SystemClock.now = lambda self: right(self) + timedelta(seconds=float(off.read_text()))
from driftsonde.detector.__main__ import run
sys.exit(run([]))
"""
HOURS = 6
WINDOW = {"by": "time", "column": "ts", "size": "1h", "lateness": "2h", "idle": "2s"}


def hour(number: int, *, seed: int = 0) -> bytes:
    """Return a drop of the rows of one hour; the third hour has drifted."""
    step = timedelta(hours=1) / ROWS
    times = pa.array([START + number * timedelta(hours=1) + place * step for place in range(ROWS)], pa.timestamp("us", "UTC"))
    return parquet(rows(100 * seed + number, shift=3.0 if number == 2 else 0.0).append_column("ts", times))


@pytest.mark.parametrize(
    "off",
    [
        pytest.param(["3600"], id="ahead", marks=pytest.mark.slow),
        pytest.param(["-3600"], id="behind", marks=pytest.mark.slow),
        pytest.param(["3600", "-3600"], id="jumping"),
    ],
)
def test_wrong_clock_changes_no_verdict(make_rig: MakeRig, tmp_path: Path, off: list[str]) -> None:
    (script := tmp_path / "wrong.py").write_text(WRONG)
    clock = tmp_path / "clock"
    set_clock(clock, "0")
    rig = make_rig(monitor={"window": WINDOW}, replicas=1, environment={"CLOCK": str(clock)}).start()
    assert rig.terminate() == 0
    rig.launch(wrapper=(str(script),))
    for number in range(HOURS):
        set_clock(clock, off[number % len(off)])
        rig.drop(f"{number}.parquet", hour(number))
        rig.until(lambda number=number: rig.outcomes()["counted"] == number + 1, "the drop")  # type: ignore[misc]  # bound now
    rig.until(lambda: len(rig.verdicts()) == HOURS, "every verdict")
    rig.settled()
    words = [word for _, (word, _) in sorted(rig.verdicts().items())]
    assert words == ["ok", "ok", "drift", "ok", "ok", "ok"], rig.verdicts()
    rig.verify()


def set_clock(clock: Path, seconds: str) -> None:
    """Say by how much the detector's clock is wrong; at no moment there is half a number."""
    (new := clock.with_suffix(".new")).write_text(seconds)
    new.replace(clock)


def test_late_drop_is_corrected_within_the_lateness_and_told_of_beyond(make_rig: MakeRig) -> None:
    rig: Rig = make_rig(monitor={"window": WINDOW}).start()
    for number in (0, 1, 3):
        rig.drop(f"{number}.parquet", hour(number))
        rig.until(lambda number=number: f"in/{number}.parquet" in known(rig), "the drop")  # type: ignore[misc]  # bound now
    rig.until(lambda: len(rig.verdicts()) == 3, "every verdict")
    rig.drop("late.parquet", parquet(hour_of_nulls(1)))
    rig.until(lambda: "in/late.parquet" in known(rig), "the late drop")
    rig.settled()
    revised = rig.query("select count(*) from outbox where body like '%verdict.revised%'")
    assert revised == [(1,)]
    rig.drop("too-late.parquet", hour(0, seed=1))
    rig.until(lambda: known(rig).get("in/too-late.parquet") == "too_late", "what is too late")
    rig.settled()
    left_out = sum(
        float(line.rpartition(" ")[2])
        for name in rig.ports
        for line in rig.get(name, "/metrics")[1].splitlines()
        if line.startswith('driftsonde_detector_rows_left_out_total{reason="too_late"}')
    )
    assert left_out == ROWS
    rig.verify()


def hour_of_nulls(number: int) -> pa.Table:
    """Return an hour's rows in which `x` is never there."""
    step = timedelta(hours=1) / ROWS
    times = pa.array([START + number * timedelta(hours=1) + place * step for place in range(ROWS)], pa.timestamp("us", "UTC"))
    return pa.table({"x": pa.nulls(ROWS, pa.float64()), "plan": ["free"] * ROWS, "ts": times})


def known(rig: Rig) -> dict[str, str]:
    """Return each object's outcome."""
    return dict(rig.query("select key, outcome from object"))
