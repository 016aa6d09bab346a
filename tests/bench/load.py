"""`make load`: detectors on PostgreSQL and the SNS → SQS bus under a load, and what each drop costs them.

The surroundings (the emulator of S3, SQS and SNS, PostgreSQL and this process) run on the same two cores, so that wall time says
how fast this machine is with all of it. What a deployment needs follows from the processor time of the detectors alone, read from
/proc.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from prometheus_client.parser import text_string_to_metric_families

from fault.harness import Rig, parquet
from servers import new_database, running_emulator, running_postgres

from .measure import ROOT, progress

DOCUMENT = ROOT / "docs" / "sizing.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_COLUMNS, _NUMBERS = 20, 15
_TICK = os.sysconf("SC_CLK_TCK")
_BASELINE_ROWS = 50_000


@dataclass(frozen=True)
class Load:
    """Drops of one size."""

    name: str
    drops: int
    rows: int


@dataclass(frozen=True)
class Measured:
    """What a load took: seconds on the clock, CPU seconds of each kind of process, peak memory in MiB, bytes of the database."""

    load: Load
    size: int
    wall: float
    detectors: float
    postgres: float
    emulator: float
    peak: float
    grown: int
    median: float
    slowest: float

    def cells(self) -> Sequence[str]:
        """Return its row of the table."""
        drops, each = self.load.drops, self.detectors / self.load.drops
        return (
            f"{drops:,} × {self.load.rows:,} rows, {self.size / 1000:,.0f} kB", f"{drops / self.wall:.0f}", f"{1000 * each:.1f}",
            f"{1 / each:.0f}", f"{self.size / each / 1e6:.1f}", f"{1000 * self.postgres / drops:.1f}", f"{1000 * self.emulator / drops:.1f}",
            f"{self.peak:.0f}", f"{self.grown / drops / 1000:.1f}", f"{self.median:.1f} / {self.slowest:.1f}",
        )  # fmt: skip


HEADER = (
    "load", "drops/s here, all of it on two cores", "detector CPU, ms a drop", "drops/s per core", "MB/s per core",
    "PostgreSQL CPU, ms a drop", "emulator CPU, ms a drop", "peak memory of a detector, MiB", "database, kB a drop",
    "event to verdict at a third of that rate, median / 95th percentile, s",
)  # fmt: skip


def main() -> int:
    """Run the loads; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--drops", type=int, default=10_000, help="small drops (default %(default)s)")
    parser.add_argument("--replicas", type=int, default=3, help="detectors (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/sizing.md")
    arguments = parser.parse_args()
    loads = (Load("small", arguments.drops, 1_000), Load("large", max(arguments.drops // 200, 10), 100_000))
    text = table([_run(load, arguments.replicas) for load in loads], arguments.replicas)
    print(text)
    if arguments.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")
        progress(f"wrote {DOCUMENT}")
    return 0


def table(results: Sequence[Measured], replicas: int) -> str:
    """Return the results as a table, loads side by side."""
    columns = [HEADER, *(result.cells() for result in results)]
    lines = [" | ".join(("", *cells, "")).strip() for cells in zip(*columns, strict=True)]
    rule = "|---" * len(columns) + "|"
    machine = f"{replicas} detectors, PostgreSQL, SNS → SQS on the emulator; {os.cpu_count()} cores; {datetime.now(UTC):%Y-%m-%d}."
    return "\n".join([machine, "", lines[0], rule, *lines[1:]])


def _run(load: Load, replicas: int) -> Measured:
    with (
        running_emulator() as (emulator, emulator_id),
        running_postgres(durable=True) as server,
        new_database(server) as database,
        tempfile.TemporaryDirectory() as folder,
    ):
        rig = Rig(emulator, Path(folder), database, replicas=replicas, bus_kind="sns", environment={"DRIFTSONDE_POLL_SECONDS": "5"})
        try:
            rig.aws(lambda s3, _: s3.put_object(Bucket=rig.bucket, Key="base/a.parquet", Body=parquet(_rows(0, _BASELINE_ROWS))))
            rig.start()
            return _measure(rig, load, emulator_id)
        finally:
            rig.close()


def _measure(rig: Rig, load: Load, emulator: int) -> Measured:
    body = parquet(_rows(1, load.rows), compression="zstd")
    progress(f"store {load.drops:,} drops of {len(body) / 1000:,.0f} kB")
    sent = [rig.put(f"{number:06d}.parquet", body) for number in range(load.drops)]
    detectors = [rig.processes[name].pid for name in rig.ports]
    before = (sum(map(_cpu, detectors)), _postgres_cpu(rig), _cpu(emulator))
    grown, began = _size(rig), time.monotonic()
    progress("send their notifications, and wait for every verdict")
    rig.send(*sent)
    _until(lambda: _judged(rig) >= load.drops)
    wall = time.monotonic() - began
    used = (sum(map(_cpu, detectors)) - before[0], _postgres_cpu(rig) - before[1], _cpu(emulator) - before[2])
    rig.settled(600)
    grown = _size(rig) - grown
    progress("feed some more at a third of that rate, for the latency")
    median, slowest = _latency(rig, body, rate=load.drops / wall / 3, drops=max(load.drops // 100, 10))
    progress("verify that each was counted once")
    rig.verify()
    return Measured(load, len(body), wall, *used, max(map(_peak, detectors)), grown, median, slowest)


def _latency(rig: Rig, body: bytes, *, rate: float, drops: int) -> tuple[float, float]:
    """Feed drops one by one; returns the median and the 95th percentile from S3's event to the verdict, in seconds, as bounds of buckets."""
    before, already = _buckets(rig), _judged(rig)
    for number in range(drops):
        sent = rig.put(f"slow-{number:06d}.parquet", body, at=datetime.now(UTC))
        rig.send(sent)
        time.sleep(1 / rate)
    _until(lambda: _judged(rig) >= already + drops)
    counts = {bound: count - before.get(bound, 0.0) for bound, count in _buckets(rig).items()}
    median, slowest = (min(bound for bound, count in counts.items() if count >= share * drops) for share in (0.5, 0.95))
    return median, slowest


def _buckets(rig: Rig) -> dict[float, float]:
    """Return how many verdicts came within each bound, of all detectors."""
    found: dict[float, float] = {}
    for name in rig.ports:
        for family in text_string_to_metric_families(rig.get(name, "/metrics")[1]):
            for sample in family.samples:
                if sample.name == "driftsonde_detector_event_to_verdict_seconds_bucket":
                    bound = float(sample.labels["le"])
                    found[bound] = found.get(bound, 0.0) + sample.value
    return found


def _rows(seed: int, count: int) -> pa.Table:
    random = np.random.default_rng(seed)
    numbers = {f"n{index:02d}": random.normal(size=count) for index in range(_NUMBERS)}
    words = {f"c{index:02d}": random.choice(["north", "south", "east", "west"], count) for index in range(_COLUMNS - _NUMBERS)}
    return pa.table({**numbers, **words})


def _judged(rig: Rig) -> int:
    return int(rig.query('select count(*) from "window" where verdict is not null')[0][0])


def _size(rig: Rig) -> int:
    return int(rig.query("select pg_database_size(current_database())")[0][0])


def _cpu(pid: int) -> float:
    """Return the CPU seconds that a process and its ended children have had."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / _TICK


def _peak(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _postgres_cpu(rig: Rig) -> float:
    """Return the CPU seconds of this PostgreSQL: its first process, with all that have ended, and those that run."""
    server = _parent(int(rig.query("select pg_backend_pid()")[0][0]))
    used = _cpu(server)
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended since
            if _parent(int(path.name)) == server:
                used += _cpu(int(path.name))
    return used


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def _until(condition: Callable[[], bool], seconds: float = 3600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
