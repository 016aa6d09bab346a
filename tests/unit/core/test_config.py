"""The configuration file: every mistake is named with its key and its value."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftsonde.core.config import (
    MAX_CONFIG_BYTES,
    Config,
    ObjectWindow,
    RowsWindow,
    TimeWindow,
    load_config,
    parse_backtest,
    parse_config,
    parse_duration,
)  # fmt: skip
from driftsonde.core.errors import ConfigError

MINIMAL: dict[str, Any] = {"monitors": [{"name": "churn", "drops": "s3://acme-ml/in/*.parquet", "baseline": "s3://acme-ml/ref.parquet"}]}
FULL: dict[str, Any] = {
    "monitors": [
        {
            "name": "churn",
            "drops": "s3://acme-ml/in/",
            "baseline": {"uri": "s3://acme-ml/ref.parquet", "bins": 64, "backtest": "event_time:1d"},
            "format": "csv",
            "columns": {"ignore": ["id"], "categorical": ["zip"]},
            "window": {"by": "time", "column": "event_time", "size": "6h", "lateness": "30m"},
            "policy": {"alpha": 0.01, "thresholds": {"distance": 0.2}, "columns": {"age": {"psi": 0.5}}},
            "retrain": {"recipe": "xgb", "cooldown": "2d"},
            "notify": ["ops"],
        }
    ],
    "recipes": {"xgb": {"role": "arn:aws:iam::123456789012:role/sagemaker", "output": "s3://acme-ml/out"}},
    "channels": {"ops": {"type": "slack", "webhook_file": "/run/secrets/slack"}},
    "budget": {"training_jobs_per_day": 3},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the full file with one value replaced; `path` as in messages."""
    raw = deepcopy(FULL)
    *parents, last = path.split(".")
    where: Any = raw
    for part in parents:
        where = where[int(part)] if part.isdigit() else where.setdefault(part, {})
    where[last] = value
    return raw


def refused(raw: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, source="driftsonde.yaml")
    return str(caught.value)


def test_minimal_file_has_the_documented_defaults() -> None:
    monitor = parse_config(MINIMAL, source="x").monitors[0]
    policy = monitor.policy
    assert isinstance(monitor.window, ObjectWindow)
    assert (policy.alpha, policy.margin, policy.min_rows, policy.lookback, policy.clear_after, policy.psi_bins) == (
        0.001,
        0.5,
        100,
        32,
        3,
        10,
    )
    assert policy.thresholds.model_dump() == {"distance": 0.10, "psi": 0.20, "nulls": 0.05, "outside": 0.02, "invalid": 0.02}
    assert (monitor.baseline.uri, monitor.baseline.bins, monitor.baseline.max_categories) == ("s3://acme-ml/ref.parquet", 256, 30)


def test_baseline_may_be_learned_from_so_many_drops() -> None:
    config = parse_config(changed("monitors.0.baseline", {"learn": 30}), source="x")
    assert (config.monitors[0].baseline.uri, config.monitors[0].baseline.learn) == (None, 30)


def test_full_file_is_read_as_written() -> None:
    config = parse_config(FULL, source="x")
    monitor = config.monitor("churn")
    assert monitor is not None
    assert isinstance(monitor.window, TimeWindow)
    assert (monitor.window.size, monitor.window.lateness, monitor.window.idle) == (timedelta(hours=6), timedelta(minutes=30), None)
    assert monitor.retrain is not None
    assert monitor.retrain.cooldown == timedelta(days=2)
    assert config.monitor("nobody") is None


def test_rows_window_is_told_by_its_key() -> None:
    window = parse_config(changed("monitors.0.window", {"by": "rows", "size": 500}), source="x").monitors[0].window
    assert window == RowsWindow(by="rows", size=500)


@pytest.mark.parametrize(
    ("text", "length"),
    [("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("6h", timedelta(hours=6)), ("1d", timedelta(days=1)),
     ("2w", timedelta(weeks=2)), (" 1 d ", timedelta(days=1)), ("0s", timedelta(0))],
)  # fmt: skip
def test_durations_are_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "d", "1", "1.5h", "-1d", "1y", "1d2h", "one day", None, 7])
def test_other_values_are_left_for_the_schema_to_refuse(text: Any) -> None:
    assert parse_duration(text) == text


@pytest.mark.parametrize(("text", "meaning"), [("40", 40), ("at:1d", ("at", timedelta(days=1))), ("a:b:6h", ("a:b", timedelta(hours=6)))])
def test_backtest_is_a_number_or_a_column_and_length(text: str, meaning: object) -> None:
    assert parse_backtest(text) == meaning


@pytest.mark.parametrize("text", ["", "soon", "at:", ":1d", "at:soon", "1.5", "at:0d", "-40", "0"])
def test_backtest_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number of windows nor COLUMN:LENGTH"):
        parse_backtest(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("monitors.0.name", "Not A Name"),
        ("monitors.0.drops", "/local/path"),
        ("monitors.0.baseline.bins", 15),
        ("monitors.0.baseline.bins", "many"),
        ("monitors.0.baseline.max_categories", 1),
        ("monitors.0.baseline", {}),
        ("monitors.0.baseline", {"uri": "s3://acme-ml/ref.parquet", "learn": 30}),
        ("monitors.0.baseline.learn", 0),
        ("monitors.0.baseline.learn", 10_001),
        ("monitors.0.format", "xlsx"),
        ("monitors.0.columns.only", 7),
        ("monitors.0.policy.alpha", 0.3),
        ("monitors.0.policy.margin", -1),
        ("monitors.0.policy.lookback", 257),
        ("monitors.0.policy.min_rows", 0),
        ("monitors.0.policy.clear_after", 101),
        ("monitors.0.policy.psi_bins", 4),
        ("monitors.0.policy.bad_rows", 1.5),
        ("monitors.0.policy.thresholds.distance", 0),
        ("monitors.0.policy.columns.age.psi", 11),
        ("monitors.0.retrain.recipe", "No Name"),
        ("monitors.0.retrain.max_per_day", 0),
        ("monitors.0.retrain.approval", "manual"),
        ("monitors.0.notify", "ops"),
        ("monitors.0.on_remove", "explode"),
        ("recipes.xgb.role", "not-an-arn"),
        ("recipes.xgb.output", "gs://bucket/x"),
        ("recipes.xgb.gate.metric", "accuracy"),
        ("recipes.xgb.training.compute.instance_count", 0),
        ("budget.training_jobs_per_day", -1),
    ],
)
def test_mistake_is_named_with_key_and_value(path: str, value: Any) -> None:
    message = refused(changed(path, value))
    assert f"driftsonde.yaml: {path}" in message
    assert repr(str(value)) in message


@pytest.mark.parametrize("value", ["soon", "1.5h", 1.5e300, "", []])
def test_wrong_duration_is_named_with_key_and_value(value: Any) -> None:
    message = refused(changed("monitors.0.window.size", value))
    assert "monitors.0.window.time.size" in message
    assert str(value) in message


@pytest.mark.parametrize(
    "path",
    [
        "colour",
        "monitors.0.colour",
        "monitors.0.policy.colour",
        "monitors.0.policy.thresholds.colour",
        "recipes.xgb.colour",
        "budget.colour",
    ],
)
def test_unknown_key_is_a_mistake(path: str) -> None:
    message = refused(changed(path, "red"))
    assert f"{path}: Extra inputs are not permitted (got 'red')" in message


def test_missing_key_is_named() -> None:
    raw = deepcopy(MINIMAL)
    del raw["monitors"][0]["drops"]
    assert "monitors.0.drops: Field required" in refused(raw)


def test_all_mistakes_are_told_at_once() -> None:
    raw = changed("monitors.0.policy.alpha", 5)
    raw["monitors"][0]["format"] = "xlsx"
    message = refused(raw)
    assert "monitors.0.policy.alpha" in message
    assert "monitors.0.format" in message


def test_window_of_unknown_kind_lists_the_known() -> None:
    message = refused(changed("monitors.0.window", {"by": "moon"}))
    assert "monitors.0.window" in message
    assert all(kind in message for kind in ("'object'", "'rows'", "'time'"))


def test_window_of_no_length_is_refused() -> None:
    assert "size must be longer than zero" in refused(changed("monitors.0.window.size", "0s"))


def test_reference_to_an_unknown_recipe_is_named() -> None:
    assert "monitors.churn.retrain.recipe: 'other' is not under recipes" in refused(changed("monitors.0.retrain.recipe", "other"))


def test_reference_to_an_unknown_channel_is_named() -> None:
    assert "monitors.churn.notify: 'nobody' is not under channels" in refused(changed("monitors.0.notify", ["ops", "nobody"]))


def test_two_monitors_of_one_name_are_refused() -> None:
    assert "the name 'churn' is used twice" in refused({"monitors": MINIMAL["monitors"] * 2})


def test_webhook_address_is_never_repeated_in_a_message() -> None:
    message = refused(changed("channels.ops.url", "https://hooks.slack.com/services/T0/B0/secret"))
    assert "secret" not in message
    assert "https://***" in message


@pytest.mark.parametrize("raw", [None, [], 7, "text", {}, {"monitors": []}, {"monitors": "churn"}], ids=repr)
def test_file_of_another_shape_is_refused(raw: Any) -> None:
    assert refused(raw).startswith("driftsonde.yaml: ")


def test_file_is_read_and_named_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "driftsonde.yaml"
    path.write_text(yaml.safe_dump(FULL))
    assert load_config(path) == Config.model_validate(FULL)
    path.write_text("monitors: [")
    with pytest.raises(ConfigError, match=r"driftsonde\.yaml is not YAML"):
        load_config(path)
    path.write_text("monitors: []")
    with pytest.raises(ConfigError, match=r"driftsonde\.yaml: monitors: "):
        load_config(path)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.yaml: No such file.*driftsonde init"):
        load_config(tmp_path / "nowhere.yaml")


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "driftsonde.yaml"
    path.write_text("#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_config(path)


def test_code_in_yaml_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "driftsonde.yaml"
    path.write_text("monitors: !!python/object/apply:os.getcwd []")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(path)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"monitors: [{name: 2024-99-99}]", b"monitors: " + b"9" * 5000, b"monitors: [" * 5000],
    ids=["not utf-8", "impossible date", "huge number", "deep"],
)
def test_unreadable_file_is_a_configuration_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "driftsonde.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_config(path)


@pytest.mark.parametrize("duration", ["9999999999999999w", "999999999w", "-1d", -5])
def test_impossible_durations_are_refused_with_key(duration: object) -> None:
    raw = {
        "monitors": [{"name": "a", "drops": "s3://acme/i/", "baseline": "s3://acme/b/", "retrain": {"recipe": "r", "cooldown": duration}}]
    }
    with pytest.raises(ConfigError, match="cooldown"):
        parse_config(raw, source="test")


def test_backtest_of_a_superscript_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a number of windows"):
        parse_backtest("²")
