"""A real Prometheus beside the stack, where the machine has one: it scrapes the three services and loads the alert rules."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from driftsonde.core.errors import ConfigError
from driftsonde.core.local.stack import SERVICES, Stack, answers, find_program

NAME: Final = "prometheus"
VARIABLE: Final = "DRIFTSONDE_PROMETHEUS"
RULES: Final = Path(__file__).parents[5] / "deploy" / "prometheus" / "alerts.yaml"
"""In a checkout; a wheel brings none, and Prometheus runs without."""

_EVERY: Final = "1s"  # a demo takes two minutes, and each look costs little on one machine


def find_prometheus() -> str | None:
    """Return the program; None where there is none."""
    try:
        return find_program(NAME, VARIABLE)
    except ConfigError:
        return None


def start_prometheus(stack: Stack) -> str:
    """Start Prometheus if there is one; returns where it answers, or how to get one.

    Raises:
        DriftsondeError: if it ends at once, or does not answer.
    """
    program = find_prometheus()
    if program is None:
        return f"not found; Debian: apt-get install prometheus, or set {VARIABLE} to its path"
    url = stack.service_url(NAME)
    config = stack.root / "prometheus.yml"
    config.write_text(yaml.safe_dump(_config(stack), sort_keys=False))
    command = [
        program, "--config.file", str(config), "--storage.tsdb.path", str(stack.root / NAME),
        "--web.listen-address", url.removeprefix("http://"), "--log.level", "warn",
    ]  # fmt: skip
    stack.run_beside(NAME, command, lambda: answers(f"{url}/-/ready"))
    return url if RULES.is_file() else f"{url}  (without alert rules: they are in the repository, not in the package)"


def _config(stack: Stack) -> dict[str, object]:
    jobs = [
        {"job_name": f"driftsonde-{name}", "static_configs": [{"targets": [stack.service_url(name).removeprefix("http://")]}]}
        for name in SERVICES
    ]
    return {
        "global": {"scrape_interval": _EVERY, "evaluation_interval": _EVERY},
        "rule_files": [str(RULES)] if RULES.is_file() else [],
        "scrape_configs": jobs,
    }
