"""The decision record in words: of the report, and of `driftsonde explain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from driftsonde.core.events import DecisionRecorded, Event
from driftsonde.core.report.model import Fact
from driftsonde.core.report.story import LINE, moment
from driftsonde.core.text import clean

_LISTED: Final = 10
_ANSWERS: Final = {
    "retrain": "retrain", "wait": "wait", "fix_data": "fix the data", "collect_labels": "collect labels", "ask": "ask people",
    "ignore": "ignore",
}  # fmt: skip


def latest_decision(events: Sequence[Event]) -> DecisionRecorded | None:
    """Return the record that holds, of one episode's events."""
    records = [event.data for event in events if isinstance(event.data, DecisionRecorded)]
    return max(records, key=lambda record: record.sequence, default=None)


def decided(events: Sequence[Event]) -> Iterator[Fact]:
    """Yield what was decided about an episode and why, of its events; nothing where nobody decided."""
    record = latest_decision(events)
    if record is None:
        return
    yield Fact(
        "answer", f"{_ANSWERS[record.answer]} ({clean(record.reason)})" + (f", again {moment(record.until)}" if record.until else "")
    )
    yield Fact("why", clean(record.text, LINE))
    yield Fact("what drifted", _drifted(record))
    yield Fact(
        "is the data trusted", "; ".join(clean(problem.text, LINE) for problem in record.problems) or "yes: nothing is wrong with it"
    )
    if record.labels:
        yield Fact("labels", clean(record.labels, LINE))
    if record.policy:
        yield Fact("policy", clean(" ".join(record.policy), 4 * LINE))
    if record.cost is not None:
        yield Fact("expected cost", clean(record.cost.in_words(), LINE))
    revisions = sorted((event.data.sequence, event) for event in events if isinstance(event.data, DecisionRecorded))
    if len(revisions) > 1:
        before = ", ".join(f"{_answer_of(event)} ({moment(event.time)})" for _, event in revisions[:-1][-_LISTED:])
        yield Fact("decided before", before)


def _answer_of(event: Event) -> str:
    return _ANSWERS[event.data.answer] if isinstance(event.data, DecisionRecorded) else ""


def _drifted(record: DecisionRecorded) -> str:
    shown = []
    for column in record.drifted[:_LISTED]:
        weight = f", {column.importance:.0%} of the champion's importance" if column.importance is not None else ""
        shown.append(f"{clean(column.column)} ({clean(column.check)} {column.score:.3g}{weight})")
    more = f", and {len(record.drifted) - _LISTED} more" if len(record.drifted) > _LISTED else ""
    known = "" if record.importance is not None else "; how important each is to the champion is not known"
    return (", ".join(shown) or "see the checks") + more + known
