"""The chart, rendered by Helm's own engine, and ways to look at what came out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, _native

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "deploy" / "helm" / "driftsonde"
VALUE_SETS = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))
SERVICES = {"detector": 8080, "retrainer": 8081, "notifier": 8082}

KUBERNETES = ("1.29.0", "1.33.0", "1.37.0")
"""The oldest that the chart says it supports, the newest whose schemas we have, and one between."""
APIS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where it is there: hundreds of manifests are read

Manifest = dict[str, Any]
Values = Mapping[str, Any]


def copy_chart(folder: Path, *, ours: bool = False) -> Path:
    """Copy the chart with a stand-in for its dependency; with `ours`, also with our own alerts and dashboards instead of stand-ins."""
    chart = folder / "driftsonde"
    shutil.copytree(CHART, chart)  # symbolic links become what they lead to
    shutil.copytree(HERE / "stand_ins" / "nats", chart / "charts" / "nats")
    if not ours:
        shutil.copy(HERE / "stand_ins" / "alerts.yaml", chart / "files" / "alerts.yaml")
        shutil.rmtree(chart / "files" / "dashboards", ignore_errors=True)
        shutil.copytree(HERE / "stand_ins" / "dashboards", chart / "files" / "dashboards")
    return chart


def value_set(name: str) -> dict[str, Any]:
    """Return one of the value sets."""
    values: dict[str, Any] = yaml.safe_load((HERE / "values" / f"{name}.yaml").read_text())
    return values


def changed(values: Values, path: str, value: Any) -> dict[str, Any]:
    """Return values with one key set, given as a path with dots."""
    key, _, rest = path.partition(".")
    return {**values, key: changed(values.get(key, {}), rest, value) if rest else value}


def render(
    folder: Path,
    values: Values,
    *,
    kubernetes: str = KUBERNETES[-1],
    apis: tuple[str, ...] = APIS,
    release: str = "rel",
    namespace: str = "ml",
) -> dict[str, str]:
    """Render the chart as `helm install` would; the result is by template."""
    options = {"name": release, "namespace": namespace, "kube_version": f"v{kubernetes}", "api_versions": list(apis), "is_install": True}
    # Loaded each time: rendering takes subcharts that are switched off out of a loaded chart, for good.
    with Chart.load(folder) as chart:
        # Not Chart.render: it cannot say which APIs and version the cluster has, though the engine below it can be told.
        files: dict[str, str] = json.loads(_native.call_string("helm_render", chart._raw(), json.dumps(values), json.dumps(options)))
    return files


def objects(files: Mapping[str, str]) -> list[Manifest]:
    """Return every object that was rendered, hooks included."""
    texts = (text for name, text in sorted(files.items()) if name.endswith(".yaml"))
    return [document for text in texts for document in yaml.load_all(text, Loader=_LOADER) if document]


@dataclass(frozen=True)
class Pod:
    """A pod that a manifest makes."""

    owner: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    namespace: str = "ml"

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Every container, also those that run first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(manifests: list[Manifest]) -> Iterator[Pod]:
    """Return the pods that manifests make, by whatever kind."""
    for manifest in manifests:
        owner = f"{manifest['kind']}/{manifest['metadata']['name']}"
        template = manifest if manifest["kind"] == "Pod" else manifest.get("spec", {}).get("template")
        if template:
            yield Pod(owner, template["metadata"]["labels"], template["spec"])


def pod(manifests: list[Manifest], component: str) -> Pod:
    """Return the pod of one component: detector, retrainer, notifier, migration, test."""
    (found,) = (one for one in pods(manifests) if one.labels["app.kubernetes.io/component"] == component)
    return found


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return one object."""
    (found,) = (one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name)
    return found


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a Kubernetes label selector selects labels; an empty one selects everything."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions", []))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ValueError(f"{expression['operator']} is no operator of a selector")
