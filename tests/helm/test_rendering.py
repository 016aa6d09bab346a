"""What the chart renders to: the same as before, valid in three versions of Kubernetes, and clean by Helm's own rules."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from .support import CHART, HERE, KUBERNETES, VALUE_SETS, Manifest, changed, copy_chart, named, objects, pods, render, value_set

CUSTOM = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds that operators bring, which Kubernetes' own schemas do not know."""


def model_of(kind: str) -> Any:
    """Return the model of a custom kind."""
    # Imported when it is needed: the models are so many that it takes seconds.
    module = "keda.v1alpha1" if kind in ("ScaledObject", "TriggerAuthentication") else "prometheus_operator.v1"
    return getattr(import_module(f"cloudcoil.models.{module}"), kind)


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    # kubernetes-validate reads megabytes of JSON for every object; with a cache 450 of them take seconds instead of half a minute.
    reader = kubernetes_validate.utils.schema_contents
    kubernetes_validate.utils.schema_contents = cache(reader)
    yield
    kubernetes_validate.utils.schema_contents = reader


def test_there_are_six_value_sets() -> None:
    assert len(VALUE_SETS) == 6


def test_rendering_is_what_was_agreed(chart: Path, name: str, update: bool) -> None:
    files = render(chart, value_set(name))
    text = "".join(f"# Source: {path}\n{body.strip()}\n---\n" for path, body in sorted(files.items()) if body.strip())
    snapshot = HERE / "snapshots" / f"{name}.yaml"
    if update:
        snapshot.write_text(text)
    assert text == snapshot.read_text(), "look at the difference; HELM_UPDATE=1 pytest tests/helm accepts it"


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_objects_are_valid_in_kubernetes(chart: Path, name: str, kubernetes: str) -> None:
    for manifest in objects(render(chart, value_set(name), kubernetes=kubernetes)):
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)


def test_a_misspelt_field_would_be_found(manifests: list[Manifest]) -> None:
    deployment = next(one for one in manifests if one["kind"] == "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(changed(deployment, "spec.template.spec.hostNetworks", True), KUBERNETES[0], strict=True)


@pytest.mark.slow
def test_custom_objects_of_every_kind_are_valid(rendered: Callable[[str], list[Manifest]], tmp_path: Path) -> None:
    ours = objects(render(copy_chart(tmp_path, ours=True), value_set("everything")))
    custom = [one for manifests in (ours, *map(rendered, VALUE_SETS)) for one in manifests if one["kind"] in CUSTOM]
    assert {one["kind"] for one in custom} == CUSTOM
    for manifest in custom:
        model = model_of(manifest["kind"]).model_validate(manifest)
        # The models ignore what they do not know: a field that does not come back was misspelt.
        assert model.model_dump(by_alias=True, exclude_unset=True, mode="json") == manifest


def test_lint_finds_nothing(chart: Path, name: str) -> None:
    report = helm_python.lint(chart, value_set(name), strict=True)
    assert report["errors"] == []


def test_chart_without_values_passes_lint(chart: Path) -> None:
    assert helm_python.lint(chart, strict=True)["errors"] == []


def test_names_are_unique_among_objects_of_a_kind(manifests: list[Manifest]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(names) == len(set(names))


def test_long_release_names_still_make_valid_names(chart: Path) -> None:
    # Helm allows 53 characters; a Service or a label takes 63.
    for manifest in objects(render(chart, value_set("sns"), release="r" * 53)):
        if manifest["kind"] in ("Service", "Pod", "Job"):  # those become names of hosts and labels; others may have 253
            assert len(manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())


def test_our_own_rules_and_dashboards_are_rendered_as_they_are(tmp_path: Path) -> None:
    manifests = objects(render(copy_chart(tmp_path, ours=True), value_set("everything")))
    deploy = CHART.parents[1]
    rules = yaml.safe_load((deploy / "prometheus" / "alerts.yaml").read_text())
    assert named(manifests, "PrometheusRule", "drift")["spec"] == {"groups": rules["groups"]}
    found = {key: text for one in manifests if "grafana_dashboard" in one["metadata"]["labels"] for key, text in one["data"].items()}
    assert {key: text.strip() for key, text in found.items()} == {
        path.name: path.read_text().strip() for path in (deploy / "grafana").glob("*.json")
    }
    assert all(len(text) < 1_000_000 for text in found.values()), "a ConfigMap holds a mebibyte"


def test_chart_renders_without_any_dashboard(tmp_path: Path) -> None:
    folder = copy_chart(tmp_path)
    for path in (folder / "files" / "dashboards").iterdir():
        path.unlink()
    (folder / "files" / "alerts.yaml").write_text("groups: []\n")
    manifests = objects(render(folder, value_set("everything")))
    assert named(manifests, "PrometheusRule", "drift")["spec"] == {"groups": []}
    assert not any("grafana_dashboard" in one["metadata"]["labels"] for one in manifests)


def test_symbolic_links_lead_to_the_sources() -> None:
    for link, target in (("alerts.yaml", "prometheus/alerts.yaml"), ("dashboards", "grafana")):
        path = CHART / "files" / link
        assert path.is_symlink(), "one source, not a copy"
        assert path.resolve() == CHART.parents[1] / target


def test_packaged_chart_holds_what_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "deploy" / "helm").mkdir(parents=True)
    copied = tmp_path / "deploy" / "helm" / "driftsonde"
    # As in the repository, with links, not with what they lead to.
    shutil.copytree(CHART, copied, symlinks=True)
    copy = copy_chart(tmp_path / "stubs")
    (copy / "charts").rename(copied / "charts")
    (tmp_path / "deploy" / "prometheus").mkdir()
    (tmp_path / "deploy" / "grafana").mkdir()
    (tmp_path / "deploy" / "prometheus" / "alerts.yaml").write_text("groups: []\n")
    (tmp_path / "deploy" / "grafana" / "one.json").write_text("{}\n")
    archive = helm_python.package(copied, destination=tmp_path)
    with tarfile.open(archive) as tar:
        members = {member.name: member.type for member in tar.getmembers()}
    for path in ("driftsonde/files/alerts.yaml", "driftsonde/files/dashboards/one.json", "driftsonde/values.schema.json"):
        assert members[path] == tarfile.REGTYPE


def test_dependency_is_declared_on_the_official_chart() -> None:
    (nats,) = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]
    assert nats["repository"] == "https://nats-io.github.io/k8s/helm/charts/"
    assert nats["condition"] == "nats.enabled"


def test_nats_is_rendered_only_where_it_is_switched_on(rendered: Callable[[str], list[Manifest]]) -> None:
    assert [name for name in VALUE_SETS if any(one["metadata"]["name"] == "rel-nats-values" for one in rendered(name))] == ["nats"]


def test_nats_is_given_durable_streams_and_no_root(rendered: Callable[[str], list[Manifest]]) -> None:
    values = yaml.safe_load(named(rendered("nats"), "ConfigMap", "rel-nats-values")["data"]["values.yaml"])
    jetstream = values["config"]["jetstream"]
    assert jetstream["merge"] == {"sync_interval": "always"}
    assert jetstream["fileStore"]["pvc"] == {"size": "50Gi"}
    assert values["podTemplate"]["merge"]["spec"]["securityContext"]["runAsNonRoot"] is True
    for container in ("container", "reloader"):
        assert values[container]["merge"]["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_pod_is_of_the_release(manifests: list[Manifest]) -> None:
    assert all(one.labels["app.kubernetes.io/instance"] == "rel" for one in pods(manifests))


def test_notes_say_what_to_do_next(chart: Path) -> None:
    notes = render(chart, value_set("defaults"))["driftsonde/templates/NOTES.txt"]
    assert "helm test rel -n ml" in notes
    assert "svc/rel-driftsonde-detector 8080" in notes
    assert "no credentials" in notes, "irsa without a role is worth a word"
