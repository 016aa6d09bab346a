"""F30 The disk is full, or nothing can be written at all.

Promised: with PostgreSQL no service needs a disk; with SQLite work waits until there is room again, and nothing is lost.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import MakeRig
from .harness import parquet, rows

DISKLESS = """
import os, resource, subprocess, sys
log = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # a container's output is a pipe too
for stream in (1, 2):
    os.dup2(log.stdin.fileno(), stream)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # from here on no byte goes into any file
from driftsonde.detector.__main__ import run
sys.exit(run([]))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_detector_with_postgresql_writes_to_no_file(make_rig: MakeRig, database: str, tmp_path: Path) -> None:
    if database.startswith("sqlite"):
        pytest.skip("SQLite is a file")
    script = tmp_path / "diskless.py"
    script.write_text(DISKLESS)
    rig = make_rig(replicas=1).start()
    assert rig.terminate() == 0
    rig.launch(wrapper=(str(script),))
    for number in range(5):
        rig.drop(f"{number}.parquet", parquet(rows(number, shift=2.0, count=20_000)))
    rig.drop("lines.csv", b"x,plan\n" + b"1.0,free\n" * 200_000)
    rig.until(lambda: len(rig.verdicts()) == 6, "every verdict")
    rig.settled()
    rig.verify()


def test_full_disk_is_waited_for(make_rig: MakeRig, database: str, small_disk: Path) -> None:
    if not database.startswith("sqlite"):
        pytest.skip("PostgreSQL's disk is PostgreSQL's")
    rig = make_rig(database=f"sqlite:///{small_disk}/detector.sqlite").start()
    rig.drop("before.parquet", parquet(rows(1)))
    rig.settled()
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for number in range(10):
        rig.drop(f"{number}.parquet", parquet(rows(number)))
    rig.until(lambda: "message released" in rig.log(), "work that waits")
    assert rig.get("detector0", "/livez")[0] == 200
    filler.unlink()
    rig.until(lambda: len(rig.verdicts()) == 11, "every verdict", 120)
    rig.settled(120)
    assert rig.letters() == []
    rig.verify()
