"""A running detector: what a small drop costs it, what a large one needs, and how soon it is ready.

The detector is the real process with SQLite, NATS and an emulator of S3 and SQS beside it. CPU and memory are the detector's own,
read from /proc; what the emulator needs for its side is not in them.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from driftsonde.core.aws.session import aws_client
from driftsonde.core.local.buckets import watch_buckets
from driftsonde.core.local.stack import Stack

from . import data
from .measure import CACHE, ROOT, Options, progress
from .tables import Goal, Table, figure

_ENVIRONMENT = CACHE / "envs" / "detector"
SECTION = "Service: a running detector"

_COLUMNS, _ROWS = 20, 45  # a drop of some 10 KB
_DROPS = 2_000
_LARGE_ROWS, _LARGE_GROUP = 7_000_000, 1_000_000
_STALL = "driftsonde_detector_loop_stall_seconds"
_TICK = os.sysconf("SC_CLK_TCK")
_CONFIG = """
monitors:
  - name: bench
    drops: s3://bench/in/
    baseline: s3://bench/base/
"""


def run(options: Options) -> list[Table]:
    """Start one detector for the small drops, and another for a large object."""
    _install()
    with _detector() as detector:
        small = detector.small_drops(options.rows(_DROPS))
    tables = [small]
    for form in ("parquet", "csv"):
        with _detector() as detector:
            tables.append(detector.large_drop(form, options))
    return tables


class _Detector:
    """A detector with its surroundings."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def small_drops(self, count: int) -> Table:
        progress(f"store {count:,} small drops")
        size = self._fill([_parquet(seed) for seed in range(200)], count)
        ready, _ = self._start()
        before, wall = self._cpu(), time.monotonic()
        self._until(lambda: self._metric("driftsonde_detector_drops_total", 'outcome="counted"') >= count, "small drops")
        self._until(lambda: self._metric("driftsonde_detector_verdicts_total") >= count, "verdicts")
        cpu, wall = self._cpu() - before, time.monotonic() - wall
        rate = count / cpu
        rows = (
            (
                f"{count:,} drops of {size / 1000:.1f} kB",
                figure(cpu),
                figure(wall),
                figure(rate),
                figure(count / wall),
                figure(cpu / count * 1e3),
            ),
        )
        head = ("", "CPU s", "wall s", "drops per CPU-second", "drops per second", "ms CPU a drop")
        goals = (
            Goal("small drops per CPU-second", 250, rate, unit="/s", stretch=400),
            Goal("detector ready", 1.5, ready, at_least=False, unit="CPU s", stretch=1.2),
        )
        note = f"From receiving to deleting, with commit and verdict; {_ROWS} rows × {_COLUMNS} columns, SQLite. Ready after {ready:.2f} CPU s."
        return Table("small drops", head, rows, note, goals)

    def large_drop(self, form: str, options: Options) -> Table:
        rows, group = options.rows(_LARGE_ROWS), options.rows(_LARGE_GROUP)
        path = data.parquet(rows, _COLUMNS, group=group) if form == "parquet" else _csv(rows * 3 // 7)
        self._fill([_parquet(0)], 0)
        self._start()
        before, wall = self._cpu(), time.monotonic()
        progress(f"store {path.name}, {path.stat().st_size / 1e6:.0f} MB")
        asyncio.run(_put(f"in/large.{form}", path.read_bytes()))
        stored, stalls = time.monotonic(), [0.0]

        def judged() -> bool:
            stalls.append(self._metric(_STALL))
            return self._metric("driftsonde_detector_verdicts_total") >= 1

        self._until(judged, "the large drop")
        cpu, wall = self._cpu() - before, time.monotonic() - stored
        time.sleep(6)  # stalls are reported every five seconds
        stalls.append(self._metric(_STALL))
        peak, stall = self._status("VmHWM"), 1e3 * max(stalls)
        head = ("object", "peak MiB", "CPU s", "wall s", "longest stall of the event loop, ms")
        line = (f"{path.stat().st_size / 1e6:,.0f} MB {form}", figure(peak), figure(cpu), figure(wall), figure(stall))
        goals = (
            Goal(f"detector: peak memory, 1 GB {form}", 256, peak, at_least=False, unit="MiB"),
            Goal(f"longest stall of the event loop, 1 GB {form}", 20, stall, at_least=False, unit="ms"),
        )
        return Table(f"one large object: {form}", head, (line,), "", () if options.quick else goals)

    def _fill(self, bodies: list[bytes], count: int) -> int:
        asyncio.run(_store(self._stack.queue_arn, bodies, count))
        return len(bodies[0])

    def _start(self) -> tuple[float, None]:
        self._stack.launch_service("detector")
        self._stack.wait_ready("detector")
        ready = self._cpu()
        self._until(lambda: '"version": 1' in self._get("/api/monitors") or '"version":1' in self._get("/api/monitors"), "the baseline")
        return ready, None

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def _status(self, name: str) -> float:
        line = next(line for line in Path(f"/proc/{self._pid}/status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024

    @property
    def _pid(self) -> int:
        return self._stack.children["detector"].process.pid

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self._stack.service_url("detector") + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def _metric(self, name: str, labels: str = "") -> float:
        found = re.findall(rf"^{name}(?:{{([^}}]*)}})? (\S+)$", self._get("/metrics"), re.MULTILINE)
        return sum(float(value) for given, value in found if labels in given)

    def _until(self, done: Callable[[], bool], what: str) -> None:
        progress(f"wait for {what}")
        deadline = time.monotonic() + 600
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not there after ten minutes\n{self._stack.children['detector'].tail()}")
            time.sleep(0.25)


def _install() -> None:
    """Make an environment as the detector's image has it: its own lock, compiled, without what only development needs."""
    progress("install the detector")
    uv = [str(ROOT / ".venv" / "bin" / "uv"), "-q"]
    into = ["--python", str(_ENVIRONMENT / "bin" / "python"), "--compile-bytecode"]
    if not _ENVIRONMENT.exists():
        subprocess.run([*uv, "venv", str(_ENVIRONMENT)], check=True)
    subprocess.run([*uv, "pip", "install", *into, "--require-hashes", "-r", str(ROOT / "requirements" / "detector.txt")], check=True)
    ours = [str(ROOT / "shared"), str(ROOT / "services" / "detector")]
    subprocess.run([*uv, "pip", "install", *into, "--no-deps", "--reinstall", *ours], check=True)


@contextmanager
def _detector() -> Iterator[_Detector]:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        config = Path(folder) / "driftsonde.yaml"
        config.write_text(_CONFIG)
        python = str(_ENVIRONMENT / "bin" / "python")
        settings = {"PYTHONDONTWRITEBYTECODE": ""}
        with Stack(Path(folder), config, environment=settings, python=python) as stack, stack.aws():
            yield _Detector(stack)


async def _store(queue_arn: str, bodies: list[bytes], count: int) -> None:
    await watch_buckets(["bench"], queue_arn)
    base = io.BytesIO()
    pq.write_table(_table(10_000, seed=12_345), base)
    await _put("base/a.parquet", base.getvalue())
    async with aws_client("s3") as s3:
        for number in range(count):
            await s3.put_object(Bucket="bench", Key=f"in/{number:06d}.parquet", Body=bodies[number % len(bodies)])


async def _put(key: str, body: bytes) -> None:
    async with aws_client("s3", read_timeout=300) as s3:
        await s3.put_object(Bucket="bench", Key=key, Body=body)


def _table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table({name: random.normal(size=rows) for name in data.names(_COLUMNS)})


def _parquet(seed: int) -> bytes:
    out = io.BytesIO()
    pq.write_table(_table(_ROWS, seed), out)
    return out.getvalue()


def _csv(rows: int) -> Path:
    """Return a CSV of `rows` rows, written once."""
    path = CACHE / f"service-{rows}.csv"
    if not path.exists():
        table = _table(100_000, seed=5)
        with path.open("wb") as file:
            for number in range(-(-rows // table.num_rows)):
                pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=number == 0))
    return path
