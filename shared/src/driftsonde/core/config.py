"""`driftsonde.yaml`: what is watched, how it is judged, what happens then. All services read the same file."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from driftsonde.core.errors import ConfigError
from driftsonde.core.names import Name, S3Uri, split_s3
from driftsonde.core.strict_yaml import load_yaml

_DURATION = re.compile(r"^([0-9]{1,9})\s*(s|m|h|d|w)$")
# A webhook address, or a URL with a password in it, is a secret, also where it was put by mistake.
_ADDRESS = re.compile(r"(https?|(?!s3:)[a-z][a-z0-9+.-]*(?=://\S*@))://\S+", re.IGNORECASE)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MAX_CONFIG_BYTES = 1_000_000


def parse_duration(value: Any) -> Any:
    """Turn `90s`, `15m`, `6h`, `1d`, `2w` into a timedelta; leave anything else to pydantic."""
    if isinstance(value, str) and (match := _DURATION.match(value.strip())):
        try:
            return timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError as exc:
            raise ValueError("longer than any clock can tell") from exc
    return value


def parse_backtest(text: str) -> int | tuple[str, timedelta]:
    """Read `40` (windows by rows in order) or `ts:1d` (windows by a time column).

    Raises:
        ValueError: if it is neither.
    """
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    column, _, length = text.rpartition(":")
    duration = parse_duration(length)
    if not column or not isinstance(duration, timedelta) or duration <= timedelta(0):
        raise ValueError(f"{text!r} is neither a number of windows nor COLUMN:LENGTH, e.g. 40 or event_time:1d")
    return column, duration


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0), description="e.g. 90s, 15m, 6h, 1d, 2w")]


class Section(BaseModel):
    """Base of every part of the file: unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(Section):
    """From which size of change a check may alarm (statistics: 2.5)."""

    distance: float = Field(0.10, ge=0.01, le=1, description="KS distance of numbers, total variation of categories.")
    psi: float = Field(0.20, ge=0.01, le=10)
    nulls: float = Field(0.05, ge=0.001, le=1)
    outside: float = Field(0.02, ge=0.001, le=1)
    invalid: float = Field(0.02, ge=0.001, le=1)


class Policy(Section):
    """How windows are judged."""

    alpha: float = Field(0.001, ge=1e-9, le=0.2, description="False alarms per window, over all columns and checks.")
    margin: float = Field(0.5, ge=0, le=1, description="Share of a threshold that a change must surely exceed.")
    thresholds: Thresholds = Thresholds()
    columns: dict[str, Thresholds] = Field({}, description="Thresholds of single columns.")
    psi_bins: int = Field(10, ge=5, le=50)
    min_rows: int = Field(100, ge=1, le=1_000_000)
    lookback: int = Field(32, ge=1, le=256, description="Windows merged at most; 1 switches look-back off.")
    clear_after: int = Field(3, ge=1, le=100, description="Quiet windows that end an episode.")
    bad_rows: float = Field(0.01, ge=0, le=1, description="Share of rows that cannot be parsed from which a drop is unreadable.")
    optional: dict[Literal["js", "hellinger", "chi2", "g", "wasserstein"], Annotated[float, Field(gt=0, le=100)]] = Field(
        {}, description="Checks that are off by default, with the threshold of each; 0.1 is usual. Each may spend alpha once more."
    )


class Columns(Section):
    """Which columns are watched, and as what."""

    only: tuple[str, ...] = Field((), description="Watch these; empty: all.")
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = Field((), description="Numbers that are names: zip codes, hours.")
    prediction: str | None = None
    label: str | None = None


class ObjectWindow(Section):
    """Each drop is a window."""

    by: Literal["object"] = "object"


class RowsWindow(Section):
    """Drops are gathered until the window has `size` rows; a drop is never split."""

    by: Literal["rows"]
    size: int = Field(ge=1)


class TimeWindow(Section):
    """Rows are gathered by a time column."""

    by: Literal["time"]
    column: str
    size: Duration
    lateness: Duration = timedelta(0)
    idle: Duration | None = Field(None, description="Judge an unfinished window after this long without a drop; default: size.")

    @model_validator(mode="after")
    def _positive(self) -> TimeWindow:
        if self.size <= timedelta(0):
            raise ValueError("size must be longer than zero")
        return self


Window = Annotated[ObjectWindow | RowsWindow | TimeWindow, Field(discriminator="by")]


class BaselineBuild(Section):
    """What a baseline is built from, and how."""

    uri: S3Uri | None = Field(None, description="Accepted data, or a file made by `driftsonde baseline build`.")
    learn: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="In place of `uri`: learn it from so many drops, the first that can be read; they are not judged.",
    )
    bins: int = Field(256, ge=16, le=4096)
    max_categories: int = Field(30, ge=2, le=1000)
    backtest: str | None = Field(None, description="Calibrate thresholds on the baseline's own windows: a number of windows, or COLUMN:1d.")

    @field_validator("backtest")
    @classmethod
    def _backtest_can_be_read(cls, text: str | None) -> str | None:
        if text is not None:
            parse_backtest(text)
        return text

    @model_validator(mode="after")
    def _one_origin(self) -> BaselineBuild:
        if (self.uri is None) == (self.learn is None):
            raise ValueError("expected either uri (s3://...) or learn (a number of drops)")
        return self


class RetrainPolicy(Section):
    """What an episode of drift leads to."""

    recipe: Name
    cooldown: Duration = timedelta(hours=24)
    max_per_day: int = Field(1, ge=1, le=100)
    approval: Literal["auto"] = "auto"
    enabled: bool = True


def _uri_to_build(value: Any) -> Any:
    return {"uri": value} if isinstance(value, str) else value


class Monitor(Section):
    """One model's watched data."""

    name: Name
    drops: S3Uri = Field(description="Prefix or glob of the objects to watch, e.g. s3://acme-ml/churn/incoming/*.parquet")
    baseline: Annotated[BaselineBuild, BeforeValidator(_uri_to_build)]
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    columns: Columns = Columns()
    window: Window = ObjectWindow()
    policy: Policy = Policy()
    on_remove: Literal["ignore", "retract"] = "ignore"
    retrain: RetrainPolicy | None = None
    notify: tuple[Name, ...] = ()


class Compute(Section):
    """What a job runs on."""

    instance_type: str = "ml.m5.large"
    instance_count: int = Field(1, ge=1, le=100)
    volume_gb: int = Field(30, ge=1, le=16_384)
    max_runtime: Duration = timedelta(hours=1)


class Steps(Section):
    """Image and command of the prepare and evaluate steps; the defaults run driftsonde's own."""

    image: str = Field("driftsonde-steps", max_length=255)
    prepare: tuple[str, ...] = ("python", "-m", "driftsonde.retrainer.steps.prepare")
    evaluate: tuple[str, ...] = ("python", "-m", "driftsonde.retrainer.steps.evaluate")
    compute: Compute = Compute()
    environment: dict[str, str] = {}


class Training(Section):
    """The training job."""

    image: str | None = Field(None, max_length=255, description="Default: SageMaker's built-in XGBoost of the region.")
    command: tuple[str, ...] = Field((), description="ContainerEntrypoint of an own image; empty: the image's own.")
    hyperparameters: dict[str, str] = Field({}, max_length=100)
    compute: Compute = Compute()


class Gate(Section):
    """When a challenger becomes champion."""

    metric: Literal["auc", "logloss", "rmse"] = "auc"
    direction: Literal["max", "min"] = "max"
    margin: float = Field(0.0, ge=0, description="By how much the challenger must be better.")
    minimum_rows: int = Field(200, ge=1, description="Held-out rows without which nothing is decided.")


class Batch(Section):
    """The batch transform that follows a promotion."""

    enabled: bool = True
    compute: Compute = Compute()


class Champion(Section):
    """The model in production before driftsonde trained one."""

    model: S3Uri = Field(description="Its model.tar.gz")
    encoding: S3Uri = Field(description="The encoding.json that its training data was prepared with.")


class Recipe(Section):
    """How a model is retrained."""

    role: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$", description="Execution role of the jobs.")
    output: S3Uri = Field(description="Prefix for everything that the jobs write.")
    package_group: str | None = Field(None, description="Model package group; default: ds-<monitor>.")
    steps: Steps = Steps()
    training: Training = Training()
    gate: Gate = Gate()
    batch: Batch = Batch()
    champion: Champion | None = None


class SlackChannel(Section):
    """A Slack incoming webhook."""

    type: Literal["slack"]
    webhook_file: Path = Field(description="File that holds the webhook URL; never the URL itself.")
    allow_private: bool = Field(False, description="Allow http and private addresses: demo and tests only.")


class WebhookChannel(Section):
    """Any HTTP endpoint; gets the event as CloudEvents JSON."""

    type: Literal["webhook"]
    url_file: Path
    allow_private: bool = False


class SnsChannel(Section):
    """An SNS topic."""

    type: Literal["sns"]
    topic_arn: str = Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:.+$")


ChannelConfig = Annotated[SlackChannel | WebhookChannel | SnsChannel, Field(discriminator="type")]


class Budget(Section):
    """Caps over all monitors."""

    training_jobs_per_day: int = Field(10, ge=0)


class Config(Section):
    """The whole file."""

    monitors: tuple[Monitor, ...] = Field(min_length=1)
    recipes: dict[Name, Recipe] = {}
    channels: dict[Name, ChannelConfig] = {}
    budget: Budget = Budget()
    bucket_owners: dict[str, Annotated[str, Field(pattern=r"^[0-9]{12}$")]] = Field(
        {},
        description='Account that must own a bucket, in quotes: S3 refuses every call to one that is another\'s, e.g. {acme-ml: "111122223333"}',
    )

    @model_validator(mode="after")
    def _references_exist(self) -> Config:
        names = [monitor.name for monitor in self.monitors]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"monitors: the name {twice[0]!r} is used twice")
        for monitor in self.monitors:
            if monitor.retrain and monitor.retrain.recipe not in self.recipes:
                raise ValueError(f"monitors.{monitor.name}.retrain.recipe: {monitor.retrain.recipe!r} is not under recipes")
            for channel in monitor.notify:
                if channel not in self.channels:
                    raise ValueError(f"monitors.{monitor.name}.notify: {channel!r} is not under channels")
        if foreign := sorted(set(self.bucket_owners) - self._buckets()):
            raise ValueError(f"bucket_owners: no monitor or recipe names the bucket {foreign[0]!r}")
        return self

    def _buckets(self) -> set[str]:
        uris = [uri for monitor in self.monitors for uri in (monitor.drops, monitor.baseline.uri) if uri]
        uris += [recipe.output for recipe in self.recipes.values()]
        champions = [recipe.champion for recipe in self.recipes.values() if recipe.champion]
        uris += [uri for champion in champions for uri in (champion.model, champion.encoding)]
        return {split_s3(uri)[0] for uri in uris}

    def monitor(self, name: str) -> Monitor | None:
        """Return the monitor of that name, if there is one."""
        return next((monitor for monitor in self.monitors if monitor.name == name), None)


def load_config(path: Path) -> Config:
    """Read and check `driftsonde.yaml`.

    Raises:
        ConfigError: naming each wrong key, its value and what would be right.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}; `driftsonde init` writes a commented example") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start:,}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES:,} bytes")
    try:
        raw = load_yaml(text, most=MAX_CONFIG_BYTES)
    except ValueError as exc:
        raise ConfigError(f"{path} is not YAML: {_without_addresses(str(exc))}") from exc
    return parse_config(raw, source=str(path))


def parse_config(raw: Any, *, source: str) -> Config:
    """Check a parsed file; `source` names it in messages.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as exc:
        raise ConfigError(f"{source}: {explain(exc)}") from exc


def explain(exc: ValidationError) -> str:
    """Say each mistake in one line: key, what is wrong, the value that was given."""
    lines = []
    for error in exc.errors(include_url=False):
        key = ".".join(str(part) for part in error["loc"]) or "(top level)"
        given = "" if error["type"] == "missing" else f" (got {_without_addresses(str(error['input']))[:80]!r})"
        # A reference that leads nowhere is a mistake of the whole file; its message names key and value itself.
        dangling = error["type"] == "value_error" and not error["loc"]
        said = _without_addresses(error["msg"].removeprefix("Value error, "))
        lines.append(said if dangling else f"{_without_addresses(key)}: {said}{given}")
    return "; ".join(lines)


def _without_addresses(text: str) -> str:
    return _ADDRESS.sub(r"\1://***", text)
