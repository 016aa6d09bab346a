"""What docker-compose.yml runs, as a process on the same machine sees it."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.local.stack import SERVICES, STANDARD_PORTS, Places, answers


class Attached(Places):
    """The standard ports of this machine, or what `DRIFTSONDE_PORT_<PART>` says, as for docker-compose.yml.

    Raises:
        DriftsondeError: if not everything answers there.
    """

    def __init__(self) -> None:
        standard = {**STANDARD_PORTS, "slack": 8090, "prometheus": 9090}
        self.ports = {name: int(os.environ.get(f"DRIFTSONDE_PORT_{name.upper()}", port)) for name, port in standard.items()}
        parts = {
            "AWS": f"{self.endpoint}/_ministack/health",
            "SageMaker": f"http://127.0.0.1:{self.ports['sagemaker']}/_local/health",
            "Slack": self.slack,
            **{name: f"{self.service_url(name)}/readyz" for name in SERVICES},
        }
        missing = [f"{name} ({url})" for name, url in parts.items() if not answers(url)]
        if missing:
            raise DriftsondeError(f"not ready: {', '.join(missing)}; start everything with `docker compose up --build --wait`")

    @property
    def slack(self) -> str:
        """Where the webhook shows what it was told."""
        return f"http://127.0.0.1:{self.ports['slack']}/messages"


class AttachedSlack:
    """The webhook that docker-compose.yml runs."""

    def __init__(self, places: Attached) -> None:
        self._url = places.slack

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it was told so far."""
        with urllib.request.urlopen(self._url, timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found
