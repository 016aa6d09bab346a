"""What facts are made of, and the base of all: frozen models, references to drops, baselines and windows, checks."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from driftsonde.core.names import Name

MAX_DROPS: Final = 200
MAX_CHECKS: Final = 20
MAX_MORE: Final = 500
Verdict = Literal["ok", "warning", "drift", "insufficient", "untrusted"]
EpisodeKind = Literal["drift", "untrusted"]
ProblemKind = Literal[
    "nulls", "invalid", "unseen", "schema", "unreadable", "duplicate_rows", "constant_column", "beyond_range", "volume"
]  # fmt: skip


class Model(BaseModel):
    """Base of everything on the wire: immutable, and nothing unknown slips through."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DropRef(Model):
    """One version of one S3 object, pinned so that it can be read again exactly."""

    bucket: str
    key: str
    version: str | None = Field(None, description="S3 VersionId, where the bucket has versions.")
    etag: str | None = None
    rows: int | None = Field(None, ge=0)

    @property
    def uri(self) -> str:
        """The object's `s3://` address, without its version."""
        return f"s3://{self.bucket}/{self.key}"


class BaselineRef(Model):
    """The frozen baseline that a verdict was measured against."""

    version: int = Field(ge=1)
    digest: str
    rows: int = Field(ge=0)
    model: str | None = Field(None, description="The model that was trained on the same data.")


class WindowRef(Model):
    """The window that was judged."""

    id: str
    rows: int = Field(ge=0)
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    revision: int = Field(1, ge=1)


class Shift(Model):
    """A bin or level, and its share of the baseline and of the window."""

    label: str
    baseline: float
    window: float


class FailingCheck(Model):
    """A failing check, in short. `score`: higher is worse, always."""

    column: str
    check: Literal["ks", "psi", "tv", "nulls", "outside", "invalid", "js", "hellinger", "chi2", "g", "wasserstein"]
    score: float
    threshold: float
    critical: float = Field(description="The score from which the check alarms; at least the threshold.")
    lookback: int = Field(1, ge=1, description="How many windows were merged for this result.")


class CheckResult(FailingCheck):
    """A failing check with everything needed to recompute it (docs/statistics.md, "Recompute a verdict yourself")."""

    method: str = Field("", max_length=120, description="How it is computed; one text for each check.")
    p_value: float = Field(ge=0, le=1)
    n: int = Field(ge=0)
    baseline_n: int = Field(ge=0)
    interval: tuple[float, float] = Field(description="95 % confidence interval of the score.")
    bracket: tuple[float, float] | None = Field(None, description="What binning leaves open: the exact score lies within.")
    certain: bool = Field(True, description="False where the critical value lies within the bracket: the raw values might say otherwise.")
    moved: tuple[Shift, ...] = Field((), description="The bins or levels whose share changed most.")
    baseline_counts: tuple[int, ...] | None = Field(None, description="Of ks by bin, of tv by level, of psi by group.")
    window_counts: tuple[int, ...] | None = None
    single_valued: tuple[int, ...] | None = Field(
        None, description="Of ks: the bins that can hold one value only, inside which nothing is open."
    )
    counted: int | None = Field(None, ge=0, description="Of nulls, invalid, outside: how many of the window's n values are.")
    baseline_counted: int | None = Field(
        None, ge=0, description="Of how many of the baseline's values; of outside: 2 beyond any range, or the levels seen once."
    )
    expected: float | None = Field(None, description="Of nulls, invalid, outside: the share that the change is measured from.")

    @property
    def has_counts(self) -> bool:
        """Whether it can be recomputed from the event alone."""
        return self.baseline_counts is not None or self.counted is not None


class SketchesRef(Model):
    """Where the counts of every check are: the stored sketches of the look-back."""

    link: str = Field(description="Below the detector's address; its read API answers while the windows are stored.")
    windows: int = Field(ge=1, description="How many windows, the judged one included.")
    digest: str = Field(description="SHA-256 of the sketches' content, oldest first: whether they are still those that were judged.")


class Problem(Model):
    """A sign that the data itself is broken: a model must not be trained on it."""

    kind: ProblemKind
    text: str = Field(max_length=2000)


class Fact(Model):
    """What happened. `sequence` orders the facts of one source about one episode."""

    TYPE: ClassVar[str]
    SOURCE: ClassVar[str]

    monitor: Name
    episode: int | None = Field(None, ge=1)
    sequence: int = Field(1, ge=1)

    def identity(self) -> tuple[object, ...]:
        """What makes this fact one of its kind; its digest is the event id."""
        return (self.monitor, self.episode, self.sequence)
