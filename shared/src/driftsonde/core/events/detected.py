"""Facts of the detector: alarms, what became of them, drops that could not be read, baselines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftsonde.core.events.parts import (
    MAX_CHECKS,
    MAX_DROPS,
    MAX_MORE,
    BaselineRef,
    CheckResult,
    DropRef,
    EpisodeKind,
    Fact,
    FailingCheck,
    Problem,
    SketchesRef,
    Verdict,
    WindowRef,
)


class Alarm(Fact):
    """Base of what opens an episode: what was seen, and by which rule."""

    SOURCE = "detector"

    window: WindowRef
    baseline: BaselineRef
    summary: str = Field(description="The verdict in one sentence.")
    columns: tuple[str, ...] = Field(description="Every drifted column, worst first; of thousands, the worst.")
    checks: tuple[CheckResult, ...] = Field((), max_length=MAX_CHECKS, description="The worst failing checks, with their counts.")
    more: tuple[FailingCheck, ...] = Field((), max_length=MAX_MORE, description="Further failing checks; their counts are in `sketches`.")
    failing: int | None = Field(None, ge=0, description="How many checks fail, listed or not.")
    level: float | None = Field(None, gt=0, lt=1, description="What each check may spend: alpha / (5 x columns x look-backs).")
    margin: float | None = Field(None, ge=0, le=1, description="Share of a threshold that a change must surely exceed.")
    psi_bins: int | None = Field(None, ge=1, description="Groups that psi is taken over.")
    sketches: SketchesRef | None = None
    problems: tuple[Problem, ...] = Field((), description="What is wrong with the data itself; with any of them nothing is trained.")


class DriftDetected(Alarm):
    """The inputs have left the baseline. One per episode."""

    TYPE = "drift.detected"

    drops: tuple[DropRef, ...] = Field((), max_length=MAX_DROPS, description="The drops of the look-back, oldest first.")
    trainable: bool = Field(True, description="False when anything is wrong with the data itself: fix the data instead.")


class DataUntrusted(Alarm):
    """The data itself is broken: people are told, nothing is trained on it."""

    TYPE = "data.untrusted"


class DriftResolved(Fact):
    """An episode ended."""

    TYPE = "drift.resolved"
    SOURCE = "detector"

    kind: EpisodeKind
    cause: Literal["recovered", "revised", "rebaselined"]


class DriftConfirmed(Fact):
    """An episode of drift goes on: so many windows of the latest ones alarm as the monitor's `retrain.confirm` asks for."""

    TYPE = "drift.confirmed"
    SOURCE = "detector"

    def identity(self) -> tuple[object, ...]:
        """One per episode."""
        return (self.monitor, self.episode)


class VerdictRevised(Fact):
    """A window that had been judged was judged again and the answer changed."""

    TYPE = "verdict.revised"
    SOURCE = "detector"

    window: WindowRef
    before: Verdict
    after: Verdict

    def identity(self) -> tuple[object, ...]:
        """One per window and revision."""
        return (self.monitor, self.window.id, self.window.revision)


class DropRejected(Fact):
    """A drop could not be read; its message is in the dead-letter queue."""

    TYPE = "drop.rejected"
    SOURCE = "detector"

    drop: DropRef
    reason: str
    message: str

    def identity(self) -> tuple[object, ...]:
        """One per object version."""
        return (self.monitor, self.drop.bucket, self.drop.key, self.drop.version or self.drop.etag)


class BaselineAdopted(Fact):
    """A new baseline is in force for windows that have no part yet."""

    TYPE = "baseline.adopted"
    SOURCE = "detector"

    baseline: BaselineRef

    def identity(self) -> tuple[object, ...]:
        """One per version."""
        return (self.monitor, self.baseline.version)
