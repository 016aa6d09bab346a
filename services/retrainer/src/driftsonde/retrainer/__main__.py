"""`driftsonde-retrainer`: parse settings, run the app, exit with a code that tells."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from driftsonde.core.service import service_main
from driftsonde.retrainer.app import MIGRATIONS, app
from driftsonde.retrainer.settings import RetrainerSettings


def run(argv: Sequence[str] | None = None) -> int:
    """Run the retrainer and return its exit code."""
    return service_main(
        "retrainer", "Turn drift events into gated training and batch transform jobs.", RetrainerSettings, app, argv, migrations=MIGRATIONS
    )


def main() -> None:
    """Console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
