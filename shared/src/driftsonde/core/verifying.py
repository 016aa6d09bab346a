"""What an event says against what its counts give: every check computed again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from driftsonde.core.config import explain
from driftsonde.core.drift.checks import ShareCounts
from driftsonde.core.drift.lookback import merged_column
from driftsonde.core.drift.recompute import RECOMPUTED, Evidence, Recomputed, Spent, evidence, recompute
from driftsonde.core.errors import DriftsondeError, PoisonError
from driftsonde.core.events import Alarm, CheckResult, DataUntrusted, DriftDetected, FailingCheck, parse_event
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.codec import digest_tables
from driftsonde.core.sketch.table import TableSketch

TOLERANCE = 1e-9
"""Absolute for scores; relative for p-values, which may be as small as floats get."""

_LARGEST = 1e9  # what an event says in place of infinity
_NO_COUNTS = "the event does not carry its counts; --api, or --baseline and --window, give them"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was measured: the baseline, and the windows of the look-back, oldest first, the judged one last."""

    baseline: FrozenBaseline
    windows: Sequence[TableSketch]


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one check.

    Args:
        said: its score in the event.
        recomputed: what its counts give; None where it could not be recomputed, and `why` says why.
        how: where the counts came from.
        wrong: each thing that does not agree, in words.
    """

    column: str
    check: str
    said: float
    recomputed: Recomputed | None = None
    how: str = ""
    wrong: tuple[str, ...] = ()
    why: str = ""


def read_alarm(body: bytes) -> Alarm:
    """Read an event that opens an episode: its CloudEvents envelope, a line of the detector's timeline, or the data alone.

    Raises:
        PoisonError: if it is anything else.
    """
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise PoisonError(f"event is not JSON: {exc}", reason="not_json") from exc
    if not isinstance(raw, dict):
        raise PoisonError("event is not a JSON object", reason="bad_event")
    if "data" in raw:
        fact = parse_event(json.dumps({key: value for key, value in raw.items() if key != "seq"}).encode()).data
        if not isinstance(fact, Alarm):
            raise PoisonError(f"{fact.TYPE} carries no checks; drift.detected and data.untrusted do", reason="bad_event")
        return fact
    kind = DriftDetected if "trainable" in raw or "drops" in raw else DataUntrusted
    try:
        return kind.model_validate(raw)
    except ValidationError as exc:
        raise PoisonError(f"not the data of drift.detected or data.untrusted: {explain(exc)[:400]}", reason="bad_event") from exc


def verify(alarm: Alarm, stored: Stored | None = None) -> list[Finding]:
    """Compute every check of an event again.

    Args:
        stored: what was measured, for checks whose counts are not in the event; the counts of the others are compared with it.
    """
    unusable = unusable_because(alarm, stored) if stored else ""
    usable = stored if not unusable else None
    return [_finding(alarm, check, usable, unusable or _NO_COUNTS) for check in (*alarm.checks, *alarm.more)]


def unusable_because(alarm: Alarm, stored: Stored) -> str:
    """Say why what is stored is not what the event was computed from; empty if it is."""
    if stored.baseline.digest != alarm.baseline.digest:
        return f"the baseline has the digest {stored.baseline.digest[:12]}…, the event was judged against {alarm.baseline.digest[:12]}…"
    judged = alarm.sketches
    # Fewer windows may be given on purpose: they serve the checks that need no more.
    if judged is not None and len(stored.windows) >= judged.windows and digest_tables(stored.windows[-judged.windows :]) != judged.digest:
        return "the windows are not those that were judged: others, or changed since by a late drop"
    return ""


def _finding(alarm: Alarm, check: FailingCheck, stored: Stored | None, why: str) -> Finding:
    plain = Finding(check.column, check.check, check.score)
    if alarm.level is None or alarm.margin is None:
        return replace(plain, why="the event does not say level and margin: it was made before events did")
    if check.check not in RECOMPUTED:
        return replace(plain, why="it is an optional check; those are not recomputed")
    spent = Spent(check.threshold, alarm.margin, alarm.level)
    own = _own(check) if isinstance(check, CheckResult) else None
    try:
        given = _from_stored(alarm, check, stored) if stored else None
    except DriftsondeError as exc:
        given, why = None, str(exc)
    counts = own or given
    if counts is None:
        return replace(plain, why=why)
    try:
        found = recompute(check.check, counts, spent)
    except (ValueError, OverflowError) as exc:
        return replace(plain, how="from the event", wrong=(f"cannot be recomputed: {exc}",))
    wrong = list(_differences(check, found))
    if own is not None and given is not None and own != given:
        wrong.append("its counts are not those that are stored")
    how = "from stored sketches" if own is None else "from the event" if given is None else "from the event, as stored"
    return replace(plain, recomputed=found, how=how, wrong=tuple(wrong))


def _own(check: CheckResult) -> Evidence | None:
    """Return the counts that an event carries."""
    if check.counted is not None and check.baseline_counted is not None and check.expected is not None:
        return Evidence(share=ShareCounts(check.counted, check.n, check.baseline_counted, check.baseline_n, check.expected))
    if check.baseline_counts is not None and check.window_counts is not None:
        return Evidence(check.baseline_counts, check.window_counts, check.single_valued or ())
    return None


def _from_stored(alarm: Alarm, check: FailingCheck, stored: Stored) -> Evidence:
    """Return the counts that are stored.

    Raises:
        DriftsondeError: if they do not have what the check was computed from.
    """
    column = stored.baseline.by_name.get(check.column)
    if column is None:
        raise DriftsondeError("the baseline has no such column")
    if len(stored.windows) < check.lookback:
        raise DriftsondeError(f"it was computed on {check.lookback} windows, {len(stored.windows)} are given")
    if alarm.psi_bins is None:
        raise DriftsondeError("the event does not say over how many groups psi is taken")
    return evidence(column, merged_column(stored.windows, check.column, check.lookback), check.check, alarm.psi_bins)


def _differences(check: FailingCheck, found: Recomputed) -> Iterator[str]:
    """Yield what an event says that does not follow from the counts."""
    pairs: list[tuple[str, float | None, float | None]] = [
        ("score", check.score, found.score), ("critical", check.critical, min(found.critical, _LARGEST))
    ]  # fmt: skip
    if isinstance(check, CheckResult):
        low, high = check.bracket or (None, None)
        lower, upper = found.bracket or (None, None)
        pairs += [
            ("n", check.n, found.n), ("baseline_n", check.baseline_n, found.m), ("interval", check.interval[0], found.interval[0]),
            ("interval", check.interval[1], found.interval[1]), ("bracket", low, lower), ("bracket", high, upper),
            ("certain", check.certain, found.certain),
        ]  # fmt: skip
        if not math.isclose(check.p_value, found.p_value, rel_tol=TOLERANCE, abs_tol=1e-300):
            yield f"p_value: the event says {check.p_value:.6g}, its counts give {found.p_value:.6g}"
    for name, said, computed in pairs:
        if said is None and computed is None:
            continue
        if said is None or computed is None or not math.isclose(said, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{name}: the event says {said}, its counts give {computed}"
