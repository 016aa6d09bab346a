"""What is watched and how it is judged: the `monitors` section."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from driftsonde.core.config.base import Duration, Hours, Section, parse_duration
from driftsonde.core.events import ProblemKind
from driftsonde.core.names import Name, S3Uri


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


class Confirm(Section):
    """How many windows must alarm before anything is trained."""

    windows: int = Field(ge=1, le=100)
    of: int = Field(ge=1, le=100, description="Among so many of the latest ones.")

    @model_validator(mode="after")
    def _can_be_met(self) -> Confirm:
        if self.windows > self.of:
            raise ValueError(f"{self.windows} windows of {self.of} can never alarm")
        return self


class RetrainPolicy(Section):
    """What an episode of drift leads to."""

    recipe: Name
    cooldown: Duration = timedelta(hours=24)
    max_per_day: int = Field(1, ge=1, le=100)
    approval: Literal["auto", "ask"] = Field("auto", description="ask: nothing is trained before somebody said yes.")
    approval_expires: Annotated[Duration, Field(ge=timedelta(minutes=1))] = Field(
        timedelta(hours=24), description="No answer for so long is a no."
    )
    confirm: Confirm | None = Field(
        None, description="Train only when drift goes on, e.g. {windows: 2, of: 3}; default: the first alarm is enough."
    )
    quiet: Hours | None = Field(None, description="Hours in which nothing is begun.")
    min_importance: float = Field(
        0.0, ge=0, le=1, description="Ignore drift of columns that together have a smaller share of the champion's importance."
    )
    tolerate: tuple[ProblemKind, ...] = Field((), description="Signs of broken data that do not keep from training, e.g. [duplicate_rows].")
    rebaseline: bool = Field(
        True, description="After a promotion, build the baseline anew from what the model was trained on; else the one in force stays."
    )
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
