"""What windows that are stored would have come to under any policy: verdicts, episodes, and what those cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.verdict import Judge, Word
from driftsonde.core.monitoring.episode import EpisodeKind, Judged, find_spans
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.table import TableSketch


@dataclass(frozen=True, slots=True)
class Replayed:
    """A window's verdict under a policy. `columns`: those that alarm; `trainable`: whether retraining can answer it."""

    window: str
    word: Word
    columns: tuple[str, ...] = ()
    trainable: bool = False

    @property
    def alarms(self) -> bool:
        """Whether it opens, or keeps open, an episode."""
        return self.word in ("drift", "untrusted")


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode that would have been. `cleared`: the window that ended it, None where none has."""

    kind: EpisodeKind
    opened: str
    cleared: str | None
    trainable: bool


@dataclass(frozen=True, slots=True)
class Bill:
    """What a policy would have cost: each episode is one message, and each trainable one of drift a training job."""

    windows: int
    alarms: int
    messages: int
    trainings: int


@dataclass(frozen=True, slots=True)
class Point:
    """One distance threshold of the operating curve, and what it would have cost."""

    distance: float
    bill: Bill


def replay(
    columns: Sequence[ColumnBaseline], windows: Iterable[tuple[str, TableSketch]], parameters: Parameters, *, described: bool = True
) -> list[Replayed]:
    """Judge windows one after the other, as they were when they came: untrusted ones are left out of later look-backs.

    Args:
        columns: the baseline's watched columns.
        windows: names and sketches over that baseline, in window order.
        parameters: the policy.
        described: whether to tell what is trainable; without it takes half as long.
    """
    judge, reach = Judge(columns, parameters), parameters.lookback - 1
    trusted: list[TableSketch] = []
    found: list[Replayed] = []
    for name, table in windows:
        verdict = judge.window([*trusted, table], described=described)
        alarming = tuple(column.name for column in verdict.columns if column.alarms)
        found.append(Replayed(name, verdict.word, alarming, described and verdict.trainable))
        if verdict.word != "untrusted" and reach:
            trusted = [*trusted, table][-reach:]
    return found


def episodes(outcomes: Sequence[Replayed], *, clear_after: int) -> list[Episode]:
    """Return the episodes that verdicts amount to, in order of the windows that open them."""
    order: Mapping[str, int] = {outcome.window: place for place, outcome in enumerate(outcomes)}
    spans = find_spans([Judged(outcome.window, outcome.word) for outcome in outcomes], clear_after=clear_after)
    return [
        Episode(span.kind, span.opened, span.cleared, span.kind == "drift" and outcomes[order[span.opened]].trainable)
        for span in sorted(spans, key=lambda span: order[span.opened])
    ]


def bill(outcomes: Sequence[Replayed], found: Sequence[Episode]) -> Bill:
    """Add up what a policy would have cost."""
    return Bill(len(outcomes), sum(outcome.alarms for outcome in outcomes), len(found), sum(episode.trainable for episode in found))


def with_distance(parameters: Parameters, distance: float) -> Parameters:
    """Return a policy with another distance threshold, for every column."""
    own = {name: replace(thresholds, distance=distance) for name, thresholds in parameters.columns.items()}
    return replace(parameters, thresholds=replace(parameters.thresholds, distance=distance), columns=own)


def operating_curve(
    columns: Sequence[ColumnBaseline], windows: Sequence[tuple[str, TableSketch]], parameters: Parameters, distances: Sequence[float], *,
    clear_after: int, warm: int = 0,
) -> Iterator[Point]:  # fmt: skip
    """Yield what a policy would have cost with each of several distance thresholds; trainings are not told.

    Args:
        warm: how many of the first windows are there only for the look-back of those that follow.
    """
    for distance in distances:
        outcomes = replay(columns, windows, with_distance(parameters, distance), described=False)[warm:]
        yield Point(distance, bill(outcomes, episodes(outcomes, clear_after=clear_after)))
