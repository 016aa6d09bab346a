"""Parts that must fit: selectors and pods, variables and settings, grace and drain, scaling and replicas."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from driftsonde.core.bus.sns import SnsAddress
from driftsonde.core.config import load_config

from .known import SETTINGS, setting_names
from .support import CHART, SERVICES, VALUE_SETS, Manifest, Pod, changed, matches, named, objects, pod, pods, render, value_set


def variables(one: Pod) -> dict[str, Any]:
    """Return the variables of a pod's first container: a value, or where it comes from."""
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in one.containers[0].get("env", [])}


def kind(manifests: list[Manifest], wanted: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == wanted]


def test_selectors_select_pods_of_their_own_component_only(manifests: list[Manifest]) -> None:
    everyone = list(pods(manifests))
    for one in kind(manifests, "Deployment") + kind(manifests, "Service") + kind(manifests, "PodDisruptionBudget"):
        selector = {"matchLabels": one["spec"]["selector"]} if one["kind"] == "Service" else one["spec"]["selector"]
        selected = [found.labels["app.kubernetes.io/component"] for found in everyone if matches(selector, found.labels)]
        assert selected == [one["metadata"]["labels"]["app.kubernetes.io/component"]]


def test_spread_is_over_pods_of_the_same_service(manifests: list[Manifest]) -> None:
    for one in pods(manifests):
        for constraint in one.spec.get("topologySpreadConstraints", []):
            assert matches(constraint["labelSelector"], one.labels)


def test_monitors_find_the_three_services(rendered: Callable[[str], list[Manifest]]) -> None:
    (monitor,) = kind(rendered("everything"), "ServiceMonitor")
    found = [one for one in kind(rendered("everything"), "Service") if matches(monitor["spec"]["selector"], one["metadata"]["labels"])]
    assert len(found) == 3
    assert {port["name"] for one in found for port in one["spec"]["ports"]} == {monitor["spec"]["endpoints"][0]["port"]}
    (monitor,) = kind(rendered("locked"), "PodMonitor")
    found_pods = [one for one in pods(rendered("locked")) if matches(monitor["spec"]["selector"], one.labels)]
    assert {one.labels["app.kubernetes.io/component"] for one in found_pods} == set(SERVICES)


def test_alerts_find_the_jobs_that_monitors_name(rendered: Callable[[str], list[Manifest]]) -> None:
    alerts = (CHART.parents[1] / "prometheus" / "alerts.yaml").read_text()
    for name, wanted, endpoints in (("everything", "ServiceMonitor", "endpoints"), ("locked", "PodMonitor", "podMetricsEndpoints")):
        (monitor,) = kind(rendered(name), wanted)
        (rule,) = monitor["spec"][endpoints][0]["relabelings"]
        assert rule["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
        assert rule["targetLabel"] == "job"
        for service in SERVICES:
            job = rule["replacement"].replace("$1", service)
            for pattern in re.findall(r'\bjob=~"([^"]+)"', alerts):
                assert re.fullmatch(pattern, job), f"{pattern} does not find {job}"


def test_scalers_scale_deployments_that_have_no_number_of_their_own(manifests: list[Manifest]) -> None:
    targets = {
        one["spec"]["scaleTargetRef"]["name"] for one in kind(manifests, "ScaledObject") + kind(manifests, "HorizontalPodAutoscaler")
    }
    unset = {one["metadata"]["name"] for one in kind(manifests, "Deployment") if "replicas" not in one["spec"]}
    assert targets == unset, "a number beside a scaler would be put back by every upgrade"


@pytest.mark.parametrize("service", SERVICES)
def test_variables_are_settings_of_the_service(manifests: list[Manifest], service: str) -> None:
    known = {f"DRIFTSONDE_{name.upper()}" for name in setting_names(SETTINGS[service])}
    given = {name for name in variables(pod(manifests, service)) if name.startswith("DRIFTSONDE_")}
    assert given <= known
    required = {f"DRIFTSONDE_{name.upper()}" for name, field in SETTINGS[service].model_fields.items() if field.is_required()}
    assert required <= given


@pytest.mark.parametrize("service", SERVICES)
def test_service_accepts_the_variables_it_is_given(manifests: list[Manifest], service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(pod(manifests, service)).items():
        # What comes from a secret is stood in for by something long enough.
        monkeypatch.setenv(name, value if isinstance(value, str) else "postgresql://user:password@host/db")
    settings = SETTINGS[service].load()
    assert settings.host == "0.0.0.0"
    assert settings.port == SERVICES[service]


def test_numbers_arrive_as_they_were_written(rendered: Callable[[str], list[Manifest]]) -> None:
    given = variables(pod(rendered("sns"), "detector"))
    assert given["DRIFTSONDE_LIMITS__MAX_ROWS"] == "10000000000"
    assert given["DRIFTSONDE_SLOTS"] == "16"
    assert variables(pod(rendered("everything"), "retrainer"))["DRIFTSONDE_POLL_JOBS_SECONDS"] == "12.5"
    assert variables(pod(rendered("everything"), "detector"))["DRIFTSONDE_CONSOLE"] == "false"


def test_kubernetes_waits_longer_than_the_service(manifests: list[Manifest]) -> None:
    for service in SERVICES:
        one = pod(manifests, service)
        grace = int(variables(one)["DRIFTSONDE_GRACE"].removesuffix("s"))
        # Beside the grace, HTTP is given two seconds and Python some to leave.
        assert one.spec["terminationGracePeriodSeconds"] >= grace + 5


@pytest.mark.parametrize("path", ["config.monitors", "config.budget"])
def test_changed_configuration_is_another_pod(chart: Path, path: str) -> None:
    values = value_set("defaults")
    other = changed(values, path, [{"name": "other"}])
    before, after = (checksums(objects(render(chart, one))) for one in (values, other))
    assert len(before) == 3
    assert all(before[name] != after[name] for name in before)


def test_other_values_leave_the_checksum_alone(chart: Path) -> None:
    values = value_set("defaults")
    assert checksums(objects(render(chart, values))) == checksums(objects(render(chart, changed(values, "keda.pollingSeconds", 60))))


def checksums(manifests: list[Manifest]) -> Mapping[str, str]:
    deployments = kind(manifests, "Deployment")
    return {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for one in deployments}


def test_mounted_configuration_is_one_that_services_read(rendered: Callable[[str], list[Manifest]], tmp_path: Path) -> None:
    for name in VALUE_SETS:
        for one in kind(rendered(name), "ConfigMap"):
            if "driftsonde.yaml" in one["data"]:
                file = tmp_path / f"{name}.yaml"
                file.write_text(one["data"]["driftsonde.yaml"])
                assert load_config(file).monitors
                assert yaml.safe_load(file.read_text()) == value_set(name)["config"]


def test_address_on_sns_is_one_that_the_bus_reads(rendered: Callable[[str], list[Manifest]]) -> None:
    queues = set()
    for service in SERVICES:
        address = SnsAddress.parse(variables(pod(rendered("sns"), service))["DRIFTSONDE_BUS_URL"])
        assert address.topic == "arn:aws:sns:eu-west-1:111122223333:driftsonde.fifo"
        assert unquote(address.queue).endswith(f"/driftsonde-{service}.fifo")
        queues |= {address.queue, address.dead_letters}
    assert len(queues) == 6


def test_bus_is_where_its_type_says(rendered: Callable[[str], list[Manifest]]) -> None:
    urls = {name: variables(pod(rendered(name), "notifier"))["DRIFTSONDE_BUS_URL"] for name in ("defaults", "nats", "everything")}
    assert urls == {
        "defaults": "nats://nats.messaging:4222",
        "nats": "nats://rel-nats:4222",
        "everything": {"secretKeyRef": {"name": "driftsonde-bus", "key": "url"}},
    }


def test_scaled_service_tells_its_most_replicas(rendered: Callable[[str], list[Manifest]]) -> None:
    told = {service: variables(pod(rendered("everything"), service))["DRIFTSONDE_REPLICAS"] for service in SERVICES}
    assert told == {"detector": "20", "retrainer": "2", "notifier": "4"}


def test_keda_counts_the_queue_of_the_service(rendered: Callable[[str], list[Manifest]]) -> None:
    manifests = rendered("sns")
    triggers = {one["spec"]["scaleTargetRef"]["name"]: one["spec"]["triggers"][0] for one in kind(manifests, "ScaledObject")}
    assert {name: trigger["metadata"]["queueURL"].rpartition("/")[2] for name, trigger in triggers.items()} == {
        "rel-driftsonde-detector": "drops",
        "rel-driftsonde-notifier": "driftsonde-notifier.fifo",
    }
    (authentication,) = kind(manifests, "TriggerAuthentication")
    assert {trigger["authenticationRef"]["name"] for trigger in triggers.values()} == {authentication["metadata"]["name"]}
    assert authentication["spec"]["podIdentity"] == {"provider": "aws", "roleArn": "arn:aws:iam::111122223333:role/keda-sqs"}
    assert all(one["spec"]["minReplicaCount"] >= 1 for one in kind(manifests, "ScaledObject"))


def test_sqlite_is_one_replica_that_is_stopped_before_the_next(rendered: Callable[[str], list[Manifest]]) -> None:
    manifests = rendered("sqlite")
    for one in kind(manifests, "Deployment"):
        assert one["spec"]["replicas"] == 1
        assert one["spec"]["strategy"] == {"type": "Recreate"}
    assert len(kind(manifests, "PersistentVolumeClaim")) == 3
    assert not kind(manifests, "Job"), "the file is brought up to date by who opens it"
    assert not kind(manifests, "ScaledObject")
    for service in SERVICES:
        path = variables(pod(manifests, service))["DRIFTSONDE_DATABASE_URL"].removeprefix("sqlite:///")
        assert any(path.startswith(mount["mountPath"]) for mount in pod(manifests, service).containers[0]["volumeMounts"])


def test_migration_runs_each_services_own_image_on_its_own_database(rendered: Callable[[str], list[Manifest]]) -> None:
    manifests = rendered("everything")
    migration = pod(manifests, "migration")
    assert migration.spec["restartPolicy"] == "Never"
    for container in migration.containers:
        service = pod(manifests, container["name"])
        assert container["args"] == ["--migrate"]
        assert container["image"] == service.containers[0]["image"]
        assert (
            variables(Pod("", {}, {"containers": [container]}))["DRIFTSONDE_DATABASE_URL"] == variables(service)["DRIFTSONDE_DATABASE_URL"]
        )


def test_irsa_role_is_an_annotation_and_pod_identity_is_none(rendered: Callable[[str], list[Manifest]]) -> None:
    account = named(rendered("everything"), "ServiceAccount", "drift-retrainer")
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/driftsonde-retrainer",
        "example.com/owner": "ml",
    }
    for one in kind(rendered("sns"), "ServiceAccount"):
        assert "annotations" not in one["metadata"]


def test_probes_ask_what_the_service_answers(manifests: list[Manifest]) -> None:
    for service in SERVICES:
        (container,) = pod(manifests, service).containers
        paths = {probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        assert {container[probe]["httpGet"]["port"] for probe in paths} == {container["ports"][0]["name"]}


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_script_of_helm_test_fails_where_a_service_is_not_ready(rendered: Callable[[str], list[Manifest]], status: int, code: int) -> None:
    (container,) = pod(rendered("defaults"), "test").containers
    _, (script, *urls) = container["command"], container["args"]
    assert urls == [f"http://rel-driftsonde-{service}:{port}/readyz" for service, port in SERVICES.items()]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"bus: away\n")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/readyz"
        # A minute of patience would be a minute of this test.
        asked = subprocess.run(
            [sys.executable, "-c", script.replace("monotonic() + 60", "monotonic() + 0"), url, url, url],
            capture_output=True, text=True, check=False, env={"no_proxy": "*"},
        )  # fmt: skip
        server.shutdown()
    assert asked.returncode == code, asked.stderr
    assert asked.stdout.count(url) == 3, "every service is asked"
    assert "bus: away" in asked.stdout
