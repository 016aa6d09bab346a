"""Values: nonsense is refused with the key that is wrong, and what the chart repeats of other files is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import HelmError

from .known import readme_with_values, schema, schema_with_settings
from .support import CHART, KUBERNETES, changed, render, value_set


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("detector.queueURL", "https://sqs/x", "queueURL"),
        ("detector.queueUrl", "sqs/x", "/detector/queueUrl"),
        ("detector.settings.slotz", 3, "slotz"),
        ("detector.settings.grace", "9s", "grace"),
        ("detector.scaling.by", "cron", "/detector/scaling/by"),
        ("detector.scaling.min", 0, "/detector/scaling/min"),
        ("detector.image.digest", "latest", "/detector/image/digest"),
        ("detector.serviceAccount.roleArn", "driftsonde", "/detector/serviceAccount/roleArn"),
        ("graceSeconds", "25s", "/graceSeconds"),
        ("logLevel", "TRACE", "/logLevel"),
        ("aws.region", "Frankfurt", "/aws/region"),
        ("bus.type", "kafka", "/bus/type"),
        ("bus.external.url", "http://nats:4222", "/bus/external/url"),
        ("bus.external.url", "nats://user:password@nats:4222", "/bus/external/url"),
        ("bus.sns.topicArn", "arn:aws:sns:eu-west-1:111122223333:not-fifo", "/bus/sns/topicArn"),
        ("database.type", "mysql", "/database/type"),
        ("database.sqlite.size", "10", "/database/sqlite/size"),
        ("networkPolicy.database.ports", ["5432"], "/networkPolicy/database/ports"),
        ("monitoring.monitor.kind", "Service", "/monitoring/monitor/kind"),
        ("replicaCount", 3, "replicaCount"),
        ("detector.podLabels", {"app.kubernetes.io/component": "mine"}, "/detector/podLabels"),
    ],
)
def test_nonsense_is_refused_naming_the_key(chart: Path, path: str, value: Any, named: str) -> None:
    with pytest.raises(HelmError, match="specifications of the schema") as refused:
        render(chart, changed(value_set("defaults"), path, value))
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("config", {}, "config: is empty"),
        ("existingConfigMap", "mine", "existingConfigMap: is given beside config"),
        ("aws.region", "", "aws.region: is empty"),
        ("detector.queueUrl", "", "detector.queueUrl: is empty"),
        ("detector.deadLetterUrl", "", "detector.deadLetterUrl: is empty"),
        ("database.existingSecret", "", "database.existingSecret: is empty"),
        ("bus.external.url", "", "bus.external: needs either"),
        ("bus.external.existingSecret", "both", "bus.external: needs either"),
        ("bus.type", "nats", "nats.enabled: is false"),
        ("nats.enabled", True, "nats.enabled: is true"),
        ("bus", {"type": "sns", "sns": {"queueUrl": "https://sqs/one.fifo"}}, "bus.sns.queueUrl: needs {service}"),
        ("detector.scaling", {"min": 9, "max": 2}, "detector.scaling.min: is more than max"),
        ("retrainer.scaling.by", "keda", "retrainer.scaling.by: keda counts a queue"),
        ("graceSeconds", 60, "graceSeconds: the detector's lease"),
    ],
)
def test_what_cannot_work_together_is_refused_naming_the_key(chart: Path, path: str, value: Any, named: str) -> None:
    with pytest.raises(HelmError, match="These values cannot work") as refused:
        render(chart, changed(value_set("defaults"), path, value))
    assert named in str(refused.value)


def test_several_replicas_on_sqlite_are_refused(chart: Path) -> None:
    with pytest.raises(HelmError, match=r"notifier\.replicas: SQLite serves one replica"):
        render(chart, changed(value_set("sqlite"), "notifier.replicas", 2))


def test_all_that_is_missing_is_said_at_once(chart: Path) -> None:
    with pytest.raises(HelmError) as refused:
        render(chart, {})
    for key in ("config:", "aws.region:", "detector.queueUrl:", "detector.deadLetterUrl:", "database.existingSecret:", "bus.external:"):
        assert key in str(refused.value)


@pytest.mark.parametrize(
    ("values", "apis", "way_out"),
    [
        ("defaults", (), "set hpa or none"),
        ("locked", (), "set monitor.kind: none"),
        ("everything", ("keda.sh/v1alpha1",), "install the Prometheus operator"),
    ],
)
def test_missing_operator_is_refused_with_the_way_out(chart: Path, values: str, apis: tuple[str, ...], way_out: str) -> None:
    with pytest.raises(HelmError, match="but the cluster has no") as refused:
        render(chart, value_set(values), apis=apis)
    assert way_out in str(refused.value)


def test_operators_are_needed_only_by_what_asks_for_them(chart: Path) -> None:
    assert render(chart, value_set("sqlite"), apis=())
    assert render(chart, changed(value_set("defaults"), "detector.scaling.by", "hpa"), apis=())


def test_oldest_kubernetes_that_is_tested_is_the_oldest_that_is_allowed() -> None:
    allowed = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    assert allowed == f">={KUBERNETES[0]}-0"


def test_schema_knows_every_setting_of_the_services(update: bool) -> None:
    wanted = schema_with_settings()
    if update:
        (CHART / "values.schema.json").write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")
    assert schema() == wanted, "HELM_UPDATE=1 pytest tests/helm writes them"


def test_readme_lists_every_value_with_its_default(update: bool) -> None:
    found, wanted = readme_with_values()
    if update:
        found = wanted
        (CHART / "README.md").write_text(wanted)
    assert found == wanted, "HELM_UPDATE=1 pytest tests/helm writes them"


def test_schema_allows_no_unknown_key_and_explains_each() -> None:
    def walk(node: dict[str, Any], path: str) -> None:
        if "properties" in node and path != "/nats":
            assert node["additionalProperties"] is False, path
        for key, inner in node.get("properties", {}).items():
            assert "$ref" in inner or inner["description"], f"{path}/{key}"
            walk(inner, f"{path}/{key}")

    whole = schema()
    walk(whole, "")
    for name, definition in whole["$defs"].items():
        walk(definition, f"$defs/{name}")
