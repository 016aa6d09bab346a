"""The policies block what they should, and let through what the services need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .policies import Cluster
from .support import SERVICES, Manifest, Pod, changed, objects, pod, render, value_set

POD_SPEC: dict[str, list[object]] = {"containers": []}
STRANGER = Pod("Pod/stranger", {"app": "stranger"}, POD_SPEC)
NEIGHBOUR = Pod(
    "Pod/other-release",
    {"app.kubernetes.io/name": "driftsonde", "app.kubernetes.io/instance": "other", "app.kubernetes.io/component": "test"},
    POD_SPEC,
)
ABROAD = Pod("Pod/abroad", {"app": "abroad"}, POD_SPEC, namespace="default")
PROMETHEUS = Pod("Pod/prometheus", {"app.kubernetes.io/name": "prometheus"}, POD_SPEC, namespace="monitoring")
DNS = Pod("Pod/coredns", {"k8s-app": "kube-dns"}, POD_SPEC, namespace="kube-system")
API_SERVER_POD = Pod("Pod/kube-apiserver", {"component": "kube-apiserver"}, POD_SPEC, namespace="kube-system")
NATS = Pod(
    "Pod/nats", {"app.kubernetes.io/name": "nats", "app.kubernetes.io/instance": "rel", "app.kubernetes.io/component": "nats"}, POD_SPEC
)

POSTGRES, BUS, AWS, SLACK = "10.4.0.7", "10.4.0.8", "52.94.5.1", "3.68.175.98"
METADATA, METADATA_V6, POD_IDENTITY = "169.254.169.254", "fd00:ec2::254", "169.254.170.23"


def cluster(manifests: list[Manifest]) -> Cluster:
    return Cluster([one for one in manifests if one["kind"] == "NetworkPolicy"])


@pytest.mark.parametrize("component", [*SERVICES, "test"])
def test_everything_is_denied_that_no_rule_allows(manifests: list[Manifest], component: str) -> None:
    policies, one = cluster(manifests), pod(manifests, component)
    for other in (STRANGER, NEIGHBOUR, ABROAD, "198.51.100.1"):
        for port in (22, 80, 4222, 5432, *SERVICES.values()):
            assert not policies.allows(other, one, port), f"{other} reaches {component}:{port}"
    for target in (STRANGER, ABROAD, API_SERVER_POD, "198.51.100.1"):
        for port in (22, 25, 80, 6443, 8080):
            assert not policies.allows(one, target, port), f"{component} reaches {target}:{port}"


@pytest.mark.parametrize("service", SERVICES)
def test_prometheus_may_scrape_and_nothing_more(manifests: list[Manifest], service: str) -> None:
    policies, one = cluster(manifests), pod(manifests, service)
    assert policies.allows(PROMETHEUS, one, SERVICES[service])
    assert not policies.allows(PROMETHEUS, one, SERVICES[service] + 1000)


@pytest.mark.parametrize("component", [*SERVICES, "test"])
def test_nobody_reaches_the_metadata_service(manifests: list[Manifest], component: str) -> None:
    policies, one = cluster(manifests), pod(manifests, component)
    for address in (METADATA, METADATA_V6):
        assert not any(policies.allows(one, address, port) for port in (80, 443))


def test_names_can_be_looked_up(manifests: list[Manifest]) -> None:
    policies = cluster(manifests)
    for component in (*SERVICES, "test"):
        for protocol in ("UDP", "TCP"):
            assert policies.allows(pod(manifests, component), DNS, 53, protocol)


def test_services_do_not_talk_to_one_another(manifests: list[Manifest]) -> None:
    policies = cluster(manifests)
    for one in SERVICES:
        for other, port in SERVICES.items():
            assert not policies.allows(pod(manifests, one), pod(manifests, other), port)


def test_helm_test_reaches_all_three_services_and_no_further(manifests: list[Manifest]) -> None:
    policies, test = cluster(manifests), pod(manifests, "test")
    assert all(policies.allows(test, pod(manifests, service), port) for service, port in SERVICES.items())
    assert not policies.allows(test, AWS, 443)
    assert not policies.allows(test, POSTGRES, 5432)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("values", ["defaults", "sns", "nats", "everything"])
def test_services_reach_database_and_https(rendered: Callable[[str], list[Manifest]], values: str, service: str) -> None:
    policies, one = cluster(rendered(values)), pod(rendered(values), service)
    assert policies.allows(one, POSTGRES, 5432)
    assert policies.allows(one, AWS, 443)
    assert policies.allows(one, SLACK, 443)
    assert not policies.allows(one, AWS, 80)
    assert not policies.allows(one, "52.94.5.1", 5432), "a database is not out there"


def test_with_sqlite_no_database_is_reached(rendered: Callable[[str], list[Manifest]]) -> None:
    policies = cluster(rendered("sqlite"))
    assert not policies.allows(pod(rendered("sqlite"), "detector"), POSTGRES, 5432)


def test_external_bus_is_reached_on_its_port_only(rendered: Callable[[str], list[Manifest]]) -> None:
    policies, one = cluster(rendered("defaults")), pod(rendered("defaults"), "retrainer")
    assert policies.allows(one, BUS, 4222)
    assert not policies.allows(one, BUS, 8222)


def test_sns_needs_no_port_of_a_bus(rendered: Callable[[str], list[Manifest]]) -> None:
    assert not cluster(rendered("sns")).allows(pod(rendered("sns"), "retrainer"), BUS, 4222)


def test_own_nats_is_for_the_services_alone(rendered: Callable[[str], list[Manifest]]) -> None:
    manifests = rendered("nats")
    policies = cluster(manifests)
    for service in SERVICES:
        assert policies.allows(pod(manifests, service), NATS, 4222)
        assert not policies.allows(pod(manifests, service), NATS, 8222)
    for other in (STRANGER, NEIGHBOUR, ABROAD, PROMETHEUS, pod(manifests, "test"), pod(manifests, "migration")):
        assert not policies.allows(other, NATS, 4222)
    assert policies.allows(NATS, NATS, 6222)
    assert not policies.allows(NATS, AWS, 443)


def test_pod_identity_agent_is_reached_only_where_it_is_used(rendered: Callable[[str], list[Manifest]]) -> None:
    assert cluster(rendered("sns")).allows(pod(rendered("sns"), "detector"), POD_IDENTITY, 80)
    assert not cluster(rendered("sns")).allows(pod(rendered("sns"), "test"), POD_IDENTITY, 80)
    assert not cluster(rendered("defaults")).allows(pod(rendered("defaults"), "detector"), POD_IDENTITY, 80)


def test_migration_reaches_the_database_and_names_alone(rendered: Callable[[str], list[Manifest]]) -> None:
    manifests = rendered("defaults")
    policies, migration = cluster(manifests), pod(manifests, "migration")
    assert policies.allows(migration, POSTGRES, 5432)
    assert policies.allows(migration, DNS, 53, "UDP")
    assert not policies.allows(migration, AWS, 443)
    assert not policies.allows(STRANGER, migration, 8080)


def test_migration_is_covered_before_the_release_is_there(rendered: Callable[[str], list[Manifest]]) -> None:
    hooks = [one for one in rendered("defaults") if "pre-install" in one["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
    policies = cluster(hooks)
    assert policies.allows(pod(hooks, "migration"), POSTGRES, 5432)
    assert not policies.allows(pod(hooks, "migration"), AWS, 443)
    weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in hooks}
    assert weights["NetworkPolicy"] < weights["Job"]


def test_clients_and_extra_egress_open_what_they_name(rendered: Callable[[str], list[Manifest]]) -> None:
    manifests = rendered("everything")
    policies = cluster(manifests)
    ingress = Pod("Pod/ingress", {"app.kubernetes.io/name": "ingress-nginx"}, POD_SPEC, namespace="ingress")
    assert policies.allows(ingress, pod(manifests, "detector"), 8080)
    assert not policies.allows(ingress, pod(manifests, "retrainer"), 8081)
    assert policies.allows(pod(manifests, "notifier"), "203.0.113.7", 587)
    assert not policies.allows(pod(manifests, "detector"), "203.0.113.7", 587)


def test_narrow_lists_replace_the_wide_ones(rendered: Callable[[str], list[Manifest]]) -> None:
    manifests = rendered("locked")
    policies, one = cluster(manifests), pod(manifests, "detector")
    assert policies.allows(one, "10.1.2.4", 6432)
    assert not policies.allows(one, POSTGRES, 5432)
    assert policies.allows(one, "10.1.8.9", 443)
    assert not policies.allows(one, SLACK, 443)
    other = Pod("Pod/grafana", {"app.kubernetes.io/name": "grafana"}, POD_SPEC, namespace="monitoring")
    assert not policies.allows(other, one, 8080)


def test_the_evaluator_sees_a_hole_that_values_make(chart: Path) -> None:
    wide = [{"ipBlock": {"cidr": "0.0.0.0/0"}}]
    manifests = objects(render(chart, changed(value_set("defaults"), "networkPolicy.https.to", wide)))
    assert cluster(manifests).allows(pod(manifests, "detector"), METADATA, 443)
    manifests = objects(render(chart, changed(value_set("defaults"), "networkPolicy.clients.detector", [{"podSelector": {}}])))
    assert cluster(manifests).allows(STRANGER, pod(manifests, "detector"), 8080)
    assert not cluster(manifests).allows(ABROAD, pod(manifests, "detector"), 8080)


def test_without_policies_everything_is_open(chart: Path) -> None:
    manifests = objects(render(chart, changed(value_set("defaults"), "networkPolicy.enabled", False)))
    assert cluster(manifests).policies == []
    assert cluster(manifests).allows(STRANGER, pod(manifests, "detector"), 8080), "the evaluator's own default"
