"""Prometheus beside a stack: what it is told, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from driftsonde.core.local import prometheus
from driftsonde.core.local.prometheus import RULES, start_prometheus
from driftsonde.core.local.stack import SERVICES, Stack


def stack(folder: Path) -> Stack:
    """Return a stack of which nothing runs."""
    return Stack(folder, folder / "driftsonde.yaml")


def test_stack_goes_without_a_prometheus_and_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTSONDE_PROMETHEUS", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    said = start_prometheus(stack(tmp_path))
    assert said == "not found; Debian: apt-get install prometheus, or set DRIFTSONDE_PROMETHEUS to its path"


def test_all_three_services_are_scraped_and_the_rules_of_the_checkout_loaded(tmp_path: Path) -> None:
    wanted = stack(tmp_path)
    written = prometheus._config(wanted)
    assert yaml.safe_load(yaml.safe_dump(written)) == written
    assert written["rule_files"] == [str(RULES)]
    assert RULES.is_file()
    targets = [job["static_configs"][0]["targets"][0] for job in written["scrape_configs"]]  # type: ignore[attr-defined]  # plain data
    assert targets == [f"127.0.0.1:{wanted.ports[name]}" for name in SERVICES]
