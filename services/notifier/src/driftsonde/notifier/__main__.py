"""The command `driftsonde-notifier`, also `python -m driftsonde.notifier`."""

from __future__ import annotations

import sys

from driftsonde.core.service import service_main
from driftsonde.notifier.app import run
from driftsonde.notifier.settings import NotifierSettings


def main() -> None:
    """Run the notifier until SIGTERM and exit with its code."""
    sys.exit(service_main("notifier", "Tell people about drift over Slack, SNS and webhooks.", NotifierSettings, run, None))


if __name__ == "__main__":
    main()
