"""What the chart repeats of other files: the services' settings in its schema, and its values in its README. Made here, compared by tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from driftsonde.core.settings import ServiceSettings
from driftsonde.detector.settings import DetectorSettings
from driftsonde.notifier.settings import NotifierSettings
from driftsonde.retrainer.settings import RetrainerSettings

from .support import CHART

SETTINGS: dict[str, type[ServiceSettings]] = {"detector": DetectorSettings, "retrainer": RetrainerSettings, "notifier": NotifierSettings}

MANAGED = {
    "config", "database_url", "bus_url", "replicas", "deployment", "host", "port", "grace", "log_level", "queue_url", "dead_letter_url",
    "job_states_url", "public_url", "api_token", "approval_secret",
}  # fmt: skip
"""Settings that have values of their own in the chart."""

_BEGIN, _END = "<!-- values: begin -->\n", "<!-- values: end -->\n"


def setting_names(settings: type[BaseModel]) -> Iterator[str]:
    """Return the names of a service's settings as its variables have them: nested ones with two underscores."""
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (f"{name}__{inner}" for inner in setting_names(kind))
        else:
            yield name


def schema() -> dict[str, Any]:
    """Return values.schema.json."""
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return found


def schema_with_settings() -> dict[str, Any]:
    """Return values.schema.json as it should be: with every setting that the chart does not manage itself."""
    wanted = schema()
    for service, settings in SETTINGS.items():
        names = sorted(set(setting_names(settings)) - MANAGED)
        wanted["$defs"][f"{service}Settings"]["properties"] = {name: {"$ref": "#/$defs/settingValue"} for name in names}
    return wanted


def readme_with_values() -> tuple[str, str]:
    """Return the chart's README as it is, and as it should be: with every value, its default and its meaning."""
    text = (CHART / "README.md").read_text()
    head, rest = text.split(_BEGIN)
    tail = rest.split(_END)[1]
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = (f"| `{key}` | `{json.dumps(value, ensure_ascii=False)}` | {meaning} |" for key, value, meaning in _leaves(schema(), defaults))
    return text, f"{head}{_BEGIN}| value | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + f"\n{_END}{tail}"


def _leaves(whole: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Walk the values down to where the schema says no more; `nats` is another chart's."""

    def walk(node: Mapping[str, Any], value: Any, path: str) -> Iterator[tuple[str, Any, str]]:
        node = {**whole["$defs"][node["$ref"].rpartition("/")[2]], **node} if "$ref" in node else node
        inner = node.get("properties", {})
        if isinstance(value, dict) and value and inner:
            for key, one in value.items():
                if key in inner:
                    yield from walk(inner[key], one, f"{path}.{key}" if path else key)
        else:
            yield path, value, node["description"].replace("|", "\\|")

    return walk(whole, defaults, "")
