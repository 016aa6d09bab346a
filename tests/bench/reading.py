"""A child of the memory section: count an object, judge it, and print the peak of this process's memory in MiB."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from driftsonde.core.api import Baseline, Sketch, judge
from driftsonde.core.counting import count_object
from driftsonde.core.readers import LocalSource


def peak_mib() -> float:
    """Return the peak so far. Not ru_maxrss: that includes the parent's at the fork."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main(baseline_path: str, object_path: str) -> None:
    """Read, judge, report."""
    baseline = Baseline.from_bytes(Path(baseline_path).read_bytes())
    before = peak_mib()
    table = count_object(baseline, LocalSource(Path(object_path)))
    verdict = judge(baseline, Sketch(baseline, table))
    print(json.dumps({"before": before, "peak": peak_mib(), "rows": verdict.rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
