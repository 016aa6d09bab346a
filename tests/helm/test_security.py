"""Nothing runs as root, nothing can write its root file system, and nothing is referred to that is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from .support import VALUE_SETS, Manifest, Pod, pod, pods, value_set


def breaches(one: Pod) -> Iterator[str]:
    """Return where a pod falls short of the Pod Security profile `restricted`, or of what we promise beyond it."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if one.spec.get(key):
            yield key
    shared = one.spec.get("securityContext", {})
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in one.spec.get("volumes", []):
        yield from (f"volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - allowed)
    if one.spec.get("automountServiceAccountToken") is not False:
        yield "token of the service account"
    for container in one.containers:
        context: Mapping[str, Any] = {**shared, **container.get("securityContext", {})}
        capabilities = context.get("capabilities", {})
        wrong = {
            "privileged": bool(context.get("privileged")),
            "may gain privileges": context.get("allowPrivilegeEscalation") is not False,
            "capabilities": capabilities.get("drop") != ["ALL"] or bool(set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}),
            "runs as root": context.get("runAsNonRoot") is not True or not context.get("runAsUser"),
            "seccomp": context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "root file system can be written": context.get("readOnlyRootFilesystem") is not True,
            "host port": any("hostPort" in port for port in container.get("ports", [])),
            "no bound on memory": "memory" not in container.get("resources", {}).get("limits", {}),
            "nowhere to write": "/tmp" not in {mount["mountPath"] for mount in container.get("volumeMounts", [])}
            and one.labels["app.kubernetes.io/component"] != "test",
        }
        yield from (f"{container['name']}: {what}" for what, is_so in wrong.items() if is_so)


def test_no_pod_falls_short_of_the_restricted_profile(manifests: list[Manifest]) -> None:
    found = list(pods(manifests))
    assert len(found) >= 4, "three services and the test"
    assert {one.owner: list(breaches(one)) for one in found if list(breaches(one))} == {}


@pytest.mark.parametrize(
    ("field", "value", "breach"),
    [
        ("runAsUser", 0, "runs as root"),
        ("runAsNonRoot", False, "runs as root"),
        ("readOnlyRootFilesystem", False, "root file system can be written"),
        ("allowPrivilegeEscalation", True, "may gain privileges"),
        ("capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, "capabilities"),
        ("seccompProfile", {"type": "Unconfined"}, "seccomp"),
    ],
)
def test_the_check_itself_finds_a_breach(rendered: Callable[[str], list[Manifest]], field: str, value: object, breach: str) -> None:
    good = pod(rendered("defaults"), "detector")
    (container,) = good.spec["containers"]
    worse = {**container, "securityContext": {**container["securityContext"], field: value}}
    assert list(breaches(Pod(good.owner, good.labels, {**good.spec, "containers": [worse]}))) == [f"detector: {breach}"]


def test_no_secret_is_rendered(manifests: list[Manifest]) -> None:
    assert not [one for one in manifests if one["kind"] == "Secret"], "secrets are made by others, and referred to"


def test_every_reference_leads_to_something(manifests: list[Manifest], name: str) -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    given = existing(value_set(name))
    for one in pods(manifests):
        for kind, referred in references(one):
            assert (kind, referred) in made | given, f"{one.owner} refers to {kind} {referred}"


def test_every_mount_has_its_volume_and_every_volume_a_mount(manifests: list[Manifest]) -> None:
    for one in pods(manifests):
        mounted = {mount["name"] for container in one.containers for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in one.spec.get("volumes", [])}, one.owner


def test_every_existing_secret_is_used(manifests: list[Manifest], name: str) -> None:
    used = {reference for one in pods(manifests) for reference in references(one)}
    assert {reference for reference in existing(value_set(name)) if reference[0] == "Secret"} <= used


def references(one: Pod) -> Iterator[tuple[str, str]]:
    """Return the objects that a pod cannot start without."""
    yield "ServiceAccount", one.spec.get("serviceAccountName", "default")
    yield from (("Secret", secret["name"]) for secret in one.spec.get("imagePullSecrets", []))
    for volume in one.spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in one.containers:
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield "Secret", variable["valueFrom"]["secretKeyRef"]["name"]


def existing(values: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the objects that values say are there already."""
    found = {("ServiceAccount", "default")}
    if "existingConfigMap" in values:
        found.add(("ConfigMap", values["existingConfigMap"]))
    for secret in values.get("image", {}).get("pullSecrets", []):
        found.add(("Secret", secret))
    for service in ("detector", "retrainer", "notifier"):
        account = values.get(service, {}).get("serviceAccount", {})
        if account.get("create") is False:
            found.add(("ServiceAccount", account["name"]))
    return found | {("Secret", secret) for secret in _secrets(values)}


def _secrets(values: Any) -> Iterator[str]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            if key in ("existingSecret", "channelSecret", "caSecret") and value:
                yield value
            else:
                yield from _secrets(value)


def test_migration_needs_nothing_that_the_release_makes(rendered: Callable[[str], list[Manifest]]) -> None:
    hooks = 0
    for name in VALUE_SETS:
        made = {
            (one["kind"], one["metadata"]["name"]) for one in rendered(name) if "helm.sh/hook" not in one["metadata"].get("annotations", {})
        }
        for one in pods(rendered(name)):
            if one.labels["app.kubernetes.io/component"] == "migration":
                hooks += 1
                assert not set(references(one)) & made, "a hook before the install runs when none of it is there"
    assert hooks == 4, "off with SQLite, and where it is switched off"
