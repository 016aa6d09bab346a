"""A baseline built by many workers; its bytes are those that one process gives, whatever the runs and whoever is ready first.

Three rounds: how many rows each run has (of Parquet the footers say it, other formats are read for it), the survey, the counts.
A row's number decides whether it is in the survey's sample, so the first round must come before the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from driftsonde.core.building import Counts, draft_of
from driftsonde.core.drift.backtest import Raised
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.places import Found, Places
from driftsonde.core.readers import open_table
from driftsonde.core.scale.runs import RUNS_PER_SLOT, Engine, Run, cut, framed, numbered, unframed
from driftsonde.core.sketch.codec import decode_table, encode_table
from driftsonde.core.surveying import BuildOptions, Stretch, Survey, settled_levels, settled_types


def build_on(
    engine: Engine, objects: Sequence[Found], options: BuildOptions, *, runs: int | None = None
) -> tuple[FrozenBaseline, tuple[Raised, ...]]:
    """Build a baseline from objects, and say which thresholds the back-test raised.

    Args:
        runs: how many runs the objects are cut into at most; default: a few for each of the engine's slots.

    Raises:
        DriftsondeError: for an object that cannot be read.
        ValueError: as `building.build`.
    """
    pieces = cut(objects, runs or RUNS_PER_SLOT * engine.slots)
    rows = [int(data) for data in engine.map(_rows, pieces)]
    pieces = numbered(pieces, rows)
    survey = _surveyed(engine, pieces, options, sum(rows))
    draft = draft_of(survey)
    counts = Counts(draft, options)
    for data in engine.map(partial(_count, draft.data, options), pieces):
        head, (whole, *windows) = unframed(data)
        keys = head["keys"]
        assert isinstance(keys, list)  # `_count` wrote it
        layout = draft.layout
        counts.join(decode_table(whole, layout), zip(keys, (decode_table(part, layout) for part in windows), strict=True))
    return counts.freeze()


def _surveyed(engine: Engine, runs: Sequence[Run], options: BuildOptions, total: int) -> Survey:
    """Survey the runs apart from one another, then once more those that would have been surveyed otherwise after the runs before them."""
    known = Stretch(0, total)
    surveys = _survey_all(engine, runs, options, known)
    types = settled_types(surveys)
    known = Stretch(0, total, types)
    wrong = [place for place, survey in enumerate(surveys) if survey.misses(types)]
    for place, survey in zip(wrong, _survey_all(engine, [runs[place] for place in wrong], options, known), strict=True):
        surveys[place] = survey
    known = Stretch(0, total, types, settled_levels(surveys))
    crowded = [place for place, survey in enumerate(surveys) if survey.crowded]
    for place, survey in zip(crowded, _survey_all(engine, [runs[place] for place in crowded], options, known), strict=True):
        surveys[place] = survey
    joined = Survey(options)
    for survey in surveys:
        joined.join(survey)
    return joined


def _survey_all(engine: Engine, runs: Sequence[Run], options: BuildOptions, known: Stretch) -> list[Survey]:
    if not runs:
        return []
    return [Survey.decode(data, options, known) for data in engine.map(partial(_survey, options, known), runs)]


def _rows(run: Run, places: Places) -> bytes:
    none = (batch.num_rows for found in run.objects for batch in open_table(places.source(found), wanted=lambda _: False).batches())
    return str(sum(none)).encode()


def _survey(options: BuildOptions, known: Stretch, run: Run, places: Places) -> bytes:
    survey = Survey(options, Stretch(run.first, known.total, known.types, known.levels))
    for batch in _batches(run, places, options):
        survey.add(batch)
    return survey.encode()


def _count(draft: bytes, options: BuildOptions, run: Run, places: Places) -> bytes:
    counts = Counts(FrozenBaseline.from_bytes(draft), options, run.first)
    for batch in _batches(run, places, options):
        counts.add(batch)
    keys = sorted(counts.windows)
    return framed({"keys": keys}, [encode_table(counts.sketch), *(encode_table(counts.windows[key]) for key in keys)])


def _batches(run: Run, places: Places, options: BuildOptions) -> Iterator[pa.RecordBatch]:
    for found in run.objects:
        yield from open_table(places.source(found), text=options.categorical).batches()
