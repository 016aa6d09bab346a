"""`make images`, `make containers`: build the images; run the compose file, the demo and the faults of containers through them."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from .engine import NoEngine, engine
from .images import build, provide_others, table


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description=__doc__)
    parser.add_argument("--images", action="store_true", help="build the images and print their sizes, nothing else")
    parser.add_argument(
        "--required", action="store_true", help="fail where no engine can be started; without it that is said, and passed over"
    )
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        with engine():
            print("→ images …", flush=True)
            sizes = build()
            if not arguments.images:
                stood_in = provide_others()
                code = subprocess.run(
                    [sys.executable, "-m", "pytest", "-q", "--timeout", "600", str(Path(__file__).parent)], check=False
                ).returncode
                if code:
                    return code
                print(f"  stand-ins for what could not be pulled: {', '.join(stood_in) or 'none'}; Grafana was not started")
            print(table(sizes))
    except NoEngine as exc:
        print(f"\n  ************ CONTAINERS SKIPPED: {exc} ************\n", flush=True)
        return 1 if arguments.required else 0
    print(f"  {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
