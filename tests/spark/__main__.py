"""`make spark`: compare what Spark's workers give with what one process gives; run by the environment that has PySpark."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

LEAST = 17


def java() -> str | None:
    """Say what is wrong with this machine's Java; None if it will do."""
    home = os.environ.get("JAVA_HOME")
    program = f"{home}/bin/java" if home else shutil.which("java")
    if program is None or not Path(program).exists():
        return "there is no Java here"
    said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < LEAST:
        return f"this Java is too old: {said.splitlines()[0] if said else 'it says nothing'}"
    return None


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.spark", description=__doc__)
    parser.add_argument(
        "--required", action="store_true", help=f"fail where there is no Java {LEAST}; without it that is said, and passed over"
    )
    arguments = parser.parse_args()
    wrong = java()
    if wrong:
        print(f"\n  ************ SPARK SKIPPED: {wrong}; Java {LEAST} or newer is needed ************\n", flush=True)
        return 1 if arguments.required else 0
    return subprocess.run(
        # No cacheprovider, no other plugin: the environment has PySpark and little else.
        [sys.executable, "-m", "pytest", "-q", "--timeout", "600", "-o", "addopts=--import-mode=importlib", str(Path(__file__).parent)], check=False
    ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
