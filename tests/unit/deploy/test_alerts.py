"""The alert rules: what they ask for exists, each says what to do, and each fires on its fault alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .promql import DEPLOY, exposed, mistakes, selected

RULES = DEPLOY / "prometheus" / "alerts.yaml"
TESTS = DEPLOY / "prometheus" / "alerts_test.yaml"
RUNBOOK = DEPLOY.parent / "docs" / "runbook.md"
WANTED = frozenset({
    "IntakeLag", "DeadLetters", "OutboxOld", "LeaseStuck", "NoDrops", "Untrusted", "JobFailed", "BudgetSpent", "DeliveryFailing",
    "BaselineOld", "ModelOld",
})  # fmt: skip
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
CASES: list[dict[str, Any]] = yaml.safe_load(TESTS.read_text())["tests"]
NAMES = [alert["alert"] for alert in ALERTS]


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture
def promtool() -> str:
    """Prometheus's own tool."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return found


def unnoticed(promtool: str, folder: Path, mutated: Callable[[str], tuple[list[Any], list[Any]]]) -> list[str]:
    """Change each rule in turn, and return those whose change no test noticed; `mutated(name)` gives rules and tests."""
    files = {}
    for name in NAMES:
        groups, tests = mutated(name)
        files[name] = folder / name / TESTS.name
        files[name].parent.mkdir()
        (folder / name / RULES.name).write_text(yaml.safe_dump({"groups": groups}))
        files[name].write_text(yaml.safe_dump({**yaml.safe_load(TESTS.read_text()), "tests": tests}))
    # One process for all: starting it takes longer than what it does. Its report has a part for each file.
    done = subprocess.run([promtool, "test", "rules", *map(str, files.values())], capture_output=True, text=True, check=False)
    parts = done.stdout.split("Unit Testing: ")[1:]
    reports = dict(zip(NAMES, parts, strict=True))
    return [name for name, report in reports.items() if "SUCCESS" in report]


def test_every_fault_that_was_asked_for_has_a_rule() -> None:
    assert {f"Driftsonde{name}" for name in WANTED} <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_what_a_rule_asks_for_exists(alert: dict[str, Any]) -> None:
    assert mistakes(alert["expr"]) == []
    series = [each.name for each in selected(alert["expr"])]
    assert series
    assert set(series) <= exposed().keys()


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_every_rule_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    said = alert["annotations"]
    assert set(said) == {"summary", "description", "runbook_url"}
    link, _, anchor = said["runbook_url"].partition("#")
    assert link == "https://github.com/driftsonde/driftsonde/blob/main/docs/runbook.md"
    assert anchor in anchors(RUNBOOK.read_text())


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_every_label_that_is_told_is_one_that_the_alert_has(alert: dict[str, Any]) -> None:
    told = set(re.findall(r"\$labels\.(\w+)", "".join(alert["annotations"].values())))
    by = set(re.findall(r"by \((\w+)\)", alert["expr"]))
    whole = {"instance", "job", "service"} if "by (" not in alert["expr"] and not alert["expr"].startswith("sum") else set()
    assert told <= by | whole


def test_links_of_the_runbook_lead_somewhere() -> None:
    text = RUNBOOK.read_text()
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors(text)
    files = re.findall(r"\]\((?!#|http)([^)#]+)", text)
    assert all((RUNBOOK.parent / path).exists() for path in files)


def test_metrics_that_the_runbook_names_exist() -> None:
    named = set(re.findall(r"`(driftsonde_(?:detector|retrainer|notifier)_[a-z_]+)[{`]", RUNBOOK.read_text()))
    assert len(named) > 5
    assert named <= exposed().keys()


def test_rules_and_configuration_are_valid(promtool: str) -> None:
    subprocess.run([promtool, "check", "rules", str(RULES)], check=True, capture_output=True)
    subprocess.run([promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")], check=True, capture_output=True)


def test_each_rule_fires_on_its_fault_and_stays_quiet_on_health(promtool: str) -> None:
    done = subprocess.run([promtool, "test", "rules", str(TESTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rule_that_is_missing_is_noticed_by_the_tests(promtool: str, tmp_path: Path) -> None:
    def without(name: str) -> tuple[list[Any], list[Any]]:
        mine = [test for test in CASES if re.search(rf"(alertname=\"|alertname: |'){name}\b", yaml.safe_dump(test))]
        return [{**group, "rules": [rule for rule in group["rules"] if rule["alert"] != name]} for group in GROUPS], mine

    assert unnoticed(promtool, tmp_path, without) == []


def test_rule_that_always_fires_is_noticed_by_the_tests(promtool: str, tmp_path: Path) -> None:
    healthy = {**CASES[0], "promql_expr_test": CASES[0]["promql_expr_test"][:1]}  # the first ten minutes say enough

    def always(name: str) -> tuple[list[Any], list[Any]]:
        return [
            {**group, "rules": [{**rule, "expr": "vector(1)", "for": "0m"} if rule["alert"] == name else rule for rule in group["rules"]]}
            for group in GROUPS
        ], [healthy]

    assert unnoticed(promtool, tmp_path, always) == []
