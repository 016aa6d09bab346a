"""`driftsonde-notifier`: parse settings, run the app, exit with a code that tells."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from driftsonde.core.service import service_main
from driftsonde.notifier.app import app
from driftsonde.notifier.schema import MIGRATIONS
from driftsonde.notifier.settings import NotifierSettings


def run(argv: Sequence[str] | None = None) -> int:
    """Run the notifier and return its exit code."""
    return service_main(
        "notifier",
        "Tell people about drift over Slack, PagerDuty, e-mail, SNS and webhooks.",
        NotifierSettings,
        app,
        argv,
        migrations=MIGRATIONS,
    )


def main() -> None:
    """Console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
