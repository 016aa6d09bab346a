"""`driftsonde-detector`: parse settings, run the app, exit with a code that tells."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from driftsonde.core.service import service_main
from driftsonde.detector.app import app
from driftsonde.detector.settings import DetectorSettings
from driftsonde.detector.store import MIGRATIONS


def run(argv: Sequence[str] | None = None) -> int:
    """Run the detector and return its exit code."""
    return service_main(
        "detector", "Measure drops against baselines and publish drift events.", DetectorSettings, app, argv, migrations=MIGRATIONS
    )


def main() -> None:
    """Console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
