"""From what the detector answered to what the report says."""

from __future__ import annotations

import json
import shlex
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, cast, get_args

from driftsonde.core.config import Policy
from driftsonde.core.drift.verdict import Verdict, judge_window
from driftsonde.core.events import Alarm, DriftDetected, DriftResolved, DropRejected, Event
from driftsonde.core.monitoring.episode import Judged as JudgedWord
from driftsonde.core.monitoring.episode import Span, find_spans
from driftsonde.core.parameters import parameters_of
from driftsonde.core.report.columns import MAX_LISTED, Judged, brief_columns, full_columns, judged_again, judged_by_event, worst_of
from driftsonde.core.report.decided import decided
from driftsonde.core.report.gather import Material
from driftsonde.core.report.model import Fact, Mark, Report, Word
from driftsonde.core.report.story import LINE, answer, gate_of, moment, of_episode, steps
from driftsonde.core.text import clean
from driftsonde.core.verifying import Finding, Stored, verify

BEFORE, AFTER = 40, 20
"""Windows in the strip, on either side of the one that is reported on."""

_KEY = 1_100
_MOST_REJECTED = 20
_MOST_EVENTS = 100
_DAY = timedelta(days=1)


def compose(material: Material) -> Report:
    """Return the report on an episode, or on a window."""
    return _episode(material, material.alarm) if material.alarm else _window(material)


def _episode(material: Material, alarm: Alarm) -> Report:
    number = alarm.episode or 0
    stored = Stored(material.baseline, material.tables) if material.baseline and material.tables else None
    findings = verify(alarm, stored)
    statuses = {name: str(entry["status"]) for name, entry in _entry(material).get("columns", {}).items()}
    judged = judged_by_event(alarm, findings, statuses)
    mine = of_episode(material.events, number)
    window = _entry(material)
    since = moment(alarm.window.start or window.get("first_drop")) or moment(material.opening.time if material.opening else None)
    closed = next((event.data.cause for event in mine if isinstance(event.data, DriftResolved)), None)
    word: Word = "drift" if isinstance(alarm, DriftDetected) else "untrusted"
    repeat = (
        *_what(material, alarm.baseline.digest, alarm.baseline.rows),
        Fact("window", f"{clean(alarm.window.id, _KEY)} (revision {alarm.window.revision}, {alarm.window.rows:,} rows)"),
        Fact("each check may spend", f"{alarm.level:.3g}" if alarm.level is not None else "not said"),
        Fact("share of a threshold that must surely be exceeded", f"{alarm.margin:g}" if alarm.margin is not None else "not said"),
        Fact("groups of PSI", str(alarm.psi_bins or "not said")),
        Fact(
            "digest of the windows' counts", f"{alarm.sketches.digest} ({alarm.sketches.windows} windows)" if alarm.sketches else "not said"
        ),
        Fact("event", material.opening.id if material.opening else ""),
    )
    return _report(
        material, judged, mine,
        title=f"{alarm.monitor}, episode {number}",
        sentence=f"{clean(alarm.summary, 600).rstrip('.')}, since {since}; {answer(mine)}.",
        word=word,
        state=f"closed ({closed})" if closed else "open",
        broken=alarm.summary if word == "untrusted" else "",
        repeat=repeat,
        drops=alarm.drops if isinstance(alarm, DriftDetected) else (),
        recomputed=_compared(findings, material.lost),
        command='driftsonde verify report.html --api "$DRIFTSONDE_URL"',
        event=material.opening.model_dump_json(exclude_none=True) if material.opening else "",
    )  # fmt: skip


def _window(material: Material) -> Report:
    assert material.baseline is not None  # else there is nothing to judge it by
    policy = Policy.model_validate(material.monitor["policy"])
    verdict = judge_window(material.baseline.columns, material.tables, parameters_of(policy))
    entry, name = _entry(material), str(material.monitor["name"])
    spans = _spans(material)
    number = next((number for number, span in spans.items() if material.window in span.windows), None)
    mine = of_episode(material.events, number) if number is not None else []
    said = entry.get("verdict") or "unjudged"
    same = "as the detector did" if said == verdict.word else f"where the detector had said {said}: policy or counts have changed since"
    since = moment(entry.get("start") or entry.get("first_drop"))
    done = f"; {answer(mine)}" if mine else ""
    part = f", part of episode {number}" if number is not None else ""
    return _report(
        material, judged_again(verdict), mine,
        title=f"{name}, window {clean(material.window)}",
        sentence=f"{clean(_sentence(verdict), 600)} {since and f'It began on {since}'}{part if since else ''}{done}".strip(" ;,").rstrip(".") + ".",
        word=verdict.word,
        state=part.removeprefix(", ") or "in no episode",
        broken="; ".join(verdict.broken),
        repeat=(
            *_what(material, material.baseline.digest, material.baseline.rows),
            Fact("window", f"{clean(material.window, _KEY)} (revision {entry.get('revision')}, {verdict.rows:,} rows)"),
            Fact("each check may spend", f"{verdict.level:.3g}"),
            Fact("windows of the look-back", str(len(material.tables))),
        ),
        drops=(),
        recomputed=f"This window was judged again for this report, from its stored counts and today's policy, {same}.",
        command=f"driftsonde report --monitor {name} --window {_quoted(material.window)}",
        event="",
    )  # fmt: skip


def _report(
    material: Material, judged: Sequence[Judged], mine: Sequence[Event], *, broken: str, title: str, **fields: Any
) -> Report:  # fmt: skip
    columns = material.baseline.by_name if material.baseline else {}
    policy: Mapping[str, Any] = material.monitor["policy"]
    worst = worst_of(judged)
    full = full_columns(worst, columns, material.tables, _psi_bins(material))
    names = {one.name for one in worst}
    rest = [one for one in judged if one.name not in names]
    marks, more = _marks(material)
    report = Report(
        title=title, marks=tuple(marks), more_marks=more, full=tuple(full), others=tuple(brief_columns(rest[:MAX_LISTED])),
        unlisted=max(0, len(rest) - MAX_LISTED), note=clean(material.lost, LINE), quality=tuple(_quality(material, broken)),
        rejected=tuple(_rejected(material)), decided=tuple(decided(mine)), steps=tuple(steps(mine)), gate=gate_of(mine), policy=tuple(_flat(policy)), data={}, **fields,
    )  # fmt: skip
    return replace(report, data=_data(report, material, mine))


def _quoted(window: str) -> str:
    """Return a window's name for a shell. One that cannot be shown as it is, is not shown: commands are copied."""
    return shlex.quote(window) if clean(window, _KEY) == window else "WINDOW"


def _psi_bins(material: Material) -> int:
    said = material.alarm.psi_bins if material.alarm else None
    return said or int(material.monitor["policy"]["psi_bins"])


def _data(report: Report, material: Material, mine: Sequence[Event]) -> dict[str, Any]:
    """Return what the page says as data; the opening event and counts are not repeated here."""
    figures = (
        [] if material.alarm else [{"column": column.name, "checks": [asdict(check) for check in column.checks]} for column in report.full]
    )
    return {
        "driftsonde_report": 1, "title": report.title, "sentence": report.sentence, "verdict": report.word, "state": report.state,
        "monitor": material.monitor["name"], "policy": material.monitor["policy"], "window": material.window,
        "baseline": {"version": material.version, "digest": material.baseline.digest if material.baseline else None},
        "columns": figures,
        "shares": {column.name: [asdict(share) for share in column.shares] for column in report.full},
        "recomputed": report.recomputed,
        "events": [
            event.model_dump(mode="json", exclude_none=True, exclude={"data": {"drops"}})
            for event in mine if event is not material.opening
        ][:_MOST_EVENTS],
    }  # fmt: skip


def _entry(material: Material) -> Mapping[str, Any]:
    return next((item for item in material.windows if item["id"] == material.window), {})


def _spans(material: Material) -> dict[int, Span]:
    """Return the windows of each episode that was announced, by its number."""
    clear_after = int(material.monitor["policy"]["clear_after"])
    numbers = {(item["opened"], item["kind"]): int(item["number"]) for item in material.monitor["episodes"]}
    found: dict[int, Span] = {}
    for version in sorted({item["baseline"] for item in material.windows}):
        words = [JudgedWord(item["id"], item["verdict"]) for item in material.windows if item["baseline"] == version and item["verdict"]]
        for span in find_spans(words, clear_after=clear_after):
            number = numbers.get((span.opened, span.kind))
            if number is not None:
                found[number] = span
    return found


def _marks(material: Material) -> tuple[list[Mark], tuple[int, int]]:
    """Return the windows around the one that is reported on, and how many more there are before and after."""
    ids = [item["id"] for item in material.windows]
    if material.window not in ids:
        return [], (0, 0)
    place = ids.index(material.window)
    first, last = max(0, place - BEFORE), min(len(ids), place + AFTER + 1)
    order = {name: at for at, name in enumerate(ids)}
    reach = {
        number: (order[span.opened], order.get(span.cleared or "", _last(material, span, order)))
        for number, span in _spans(material).items()
    }
    marks = []
    for at, item in enumerate(material.windows[first:last], start=first):
        word = cast("Word", item["verdict"] if item["verdict"] in get_args(Word) else "unjudged")
        inside = tuple(number for number, (begin, end) in sorted(reach.items()) if begin <= at <= end)
        marks.append(Mark(clean(item["id"], 120), moment(item["start"] or item["first_drop"]), word, inside, at == place))
    return marks, (first, len(ids) - last)


def _last(material: Material, span: Span, order: Mapping[str, int]) -> int:
    """Return where an episode that never cleared ends: with its baseline's windows."""
    versions = [item["baseline"] for item in material.windows]
    return bisect_right(versions, versions[order[span.opened]]) - 1


def _quality(material: Material, broken: str) -> list[Fact]:
    """Say what of the data itself is wrong, or that nothing is."""
    found = [Fact("why it cannot be trusted", clean(broken, LINE))] if broken else []
    if material.tables:
        window = material.tables[-1]
        total = window.rows + window.bad_rows
        found.append(Fact("rows that could not be parsed", f"{window.bad_rows:,} of {total:,}"))
        found.append(Fact("drops that could not be read", str(window.unreadable)))
        absent = [name for name, seen in zip(window.layout.sizes, window.seen.tolist(), strict=True) if not seen] if window.rows else []
        found.append(Fact("columns that are missing", _names(absent)))
        found.append(Fact("columns that the baseline does not know", _names(sorted(window.new))))
    columns = _entry(material).get("columns", {})
    found.append(Fact("columns of another type", _names([name for name, entry in columns.items() if entry["status"] == "type_changed"])))
    if material.baseline and material.baseline.untested:
        found.append(Fact("columns that are not tested", _names([f"{name}: {why}" for name, why in material.baseline.untested.items()])))
    return found


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(clean(name) for name in names[:20]) + more) or "none"


def _rejected(material: Material) -> list[Fact]:
    """Return the drops that were refused from a day before the episode opened until it was closed."""
    if material.opening is None:
        return []
    begin = material.opening.time - _DAY
    mine = of_episode(material.events, material.opening.data.episode or 0)
    end = next((event.time for event in mine if isinstance(event.data, DriftResolved)), None)
    refused = [event for event in material.events if begin <= event.time <= (end or event.time)]
    found = [event.data for event in refused if isinstance(event.data, DropRejected)]
    return [Fact(clean(data.drop.uri, LINE), f"{clean(data.reason)}: {clean(data.message, LINE)}") for data in found[:_MOST_REJECTED]]


def _what(material: Material, digest: str, rows: int) -> list[Fact]:
    raised = f", thresholds back-tested on {material.baseline.windows} windows" if material.baseline and material.baseline.windows else ""
    return [
        Fact("monitor", str(material.monitor["name"])),
        Fact("baseline", f"version {material.version}, {rows:,} rows{raised}"),
        Fact("digest of the baseline", digest),
    ]


def _flat(policy: Mapping[str, Any], prefix: str = "") -> list[Fact]:
    found: list[Fact] = []
    for name, value in policy.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append(Fact(clean(f"{prefix}{name}"), clean(json.dumps(value), 120)))
    return found[:200]


def _compared(findings: Sequence[Finding], lost: str) -> str:
    agree = sum(finding.recomputed is not None and not finding.wrong for finding in findings)
    wrong = sum(bool(finding.wrong) for finding in findings)
    text = f"{agree} of {len(findings)} checks were computed again for this report and agree" + (f"; {wrong} differ" if wrong else "")
    left = len(findings) - agree - wrong
    return text + (f"; {left} could not be: {clean(lost or next((f.why for f in findings if f.why), ''), LINE)}" if left else "") + "."


def _sentence(verdict: Verdict) -> str:
    """Say a verdict in one sentence."""
    if verdict.broken:
        return f"The data cannot be trusted: {'; '.join(verdict.broken[:5])}."
    ranked = [one for one in judged_again(verdict) if one.status in ("drift", "suspect") and one.checks]
    if not ranked:
        return f"Nothing moved in {verdict.rows:,} rows." if verdict.word == "ok" else f"{verdict.rows:,} rows: {verdict.word}."
    worst = ranked[0].checks[0]
    more = f", and {len(ranked) - 1} more column{'s' if len(ranked) > 2 else ''}" if len(ranked) > 1 else ""
    verb = "moved" if ranked[0].status == "drift" else "may have moved"
    span = f" over {worst.lookback} windows" if worst.lookback > 1 else ""
    return f"{ranked[0].name} {verb}: {worst.name} {worst.score:.3f}{span}, alarms from {worst.critical:.3f}{more}."
