"""What people read about each event, in words: what moved, by how much, since when, what was done about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from driftsonde.core.events import (
    ApprovalRequested,
    BaselineRef,
    BatchFinished,
    CheckResult,
    DataUntrusted,
    DeploymentFinished,
    DriftDetected,
    DriftResolved,
    DropRejected,
    Event,
    Fact,
    ModelHeld,
    ModelPromoted,
    PlanRefused,
    PlanWaiting,
    Scores,
    TrainingFailed,
    WindowRef,
)
from driftsonde.core.ports import FIRST, Occasion
from driftsonde.core.text import clean

MAX_SENTENCE = 600
MAX_ADDRESS = 300
MAX_LINK = 1_000
MAX_NAMES_LISTED = 40

CHECK_WORDS: Final[Mapping[str, str]] = {
    "ks": "distribution (KS distance)",
    "psi": "distribution (PSI)",
    "tv": "categories (total variation)",
    "nulls": "share of nulls",
    "outside": "share of values outside the baseline",
    "invalid": "share of invalid values",
}
_CAUSES: Final[Mapping[str, str]] = {
    "recovered": "The windows are quiet again.",
    "revised": "The window that opened it was judged again with corrected data, and is quiet.",
    "rebaselined": "A new baseline was adopted.",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What to say. Every text is clean: data in it carries no control, bidi or line-breaking characters."""

    title: str
    paragraphs: tuple[str, ...]
    footer: str


def message(event: Event, occasion: Occasion = FIRST) -> Message:
    """Return what to say about an event; a type without words of its own gets its name and monitor."""
    fact = event.data
    say: Callable[[Any], tuple[str, Sequence[str]]] = _WORDS.get(type(fact), _anything)
    title, paragraphs = say(fact)
    if occasion.sample:
        title, paragraphs = f"TEST: {title}", ("This is a test: nothing of this happened, and nothing needs to be done.", *paragraphs)
    if occasion.reminder:
        open_since = f"Still open, since {_time(event.time)} (reminder {occasion.reminder})."
        title, paragraphs = f"Still open: {title}", (open_since, *paragraphs)
    where = fact.monitor if fact.episode is None else f"{fact.monitor}/{fact.episode}"
    footer = f"{where} · {fact.TYPE} · {_time(event.time)} · {event.id[:8]}"
    return Message(title, tuple(part for part in paragraphs if part), footer)


def _detected(fact: DriftDetected) -> tuple[str, Sequence[str]]:
    if fact.trainable:
        done = "What is done: the retrainer decides whether to train; its decision and result follow here."
    else:
        wrong = "; ".join(clean(problem.text, MAX_ADDRESS) for problem in fact.problems)
        done = f"What is done: nothing is trained, because the data is broken{wrong and f': {wrong}'}. Fix the data at its source."
    title = f"Drift: {fact.monitor}, {_count(len(fact.columns), 'column')} moved"
    return title, (*_moved(fact.summary, fact.columns, fact.checks), _since(fact.window, fact.baseline), done)


def _untrusted(fact: DataUntrusted) -> tuple[str, Sequence[str]]:
    done = "What is done: nothing is trained on this data. Fix it at its source."
    title = f"Broken data: {fact.monitor}"
    return title, (*_moved(fact.summary, fact.columns, fact.checks), _since(fact.window, fact.baseline), done)


def _resolved(fact: DriftResolved) -> tuple[str, Sequence[str]]:
    what = "Drift" if fact.kind == "drift" else "Broken data"
    return f"Resolved: {fact.monitor}", (f"{what} is over. {_CAUSES[fact.cause]}",)


def _rejected(fact: DropRejected) -> tuple[str, Sequence[str]]:
    what = f"{clean(fact.drop.uri, MAX_ADDRESS)} could not be read ({clean(fact.reason)}): {clean(fact.message, MAX_SENTENCE)}"
    done = "What is done: it is kept as a dead letter and counts for no window."
    more = "More drops of this monitor rejected for the same reason are not announced for an hour."
    return f"Drop rejected: {fact.monitor}", (what, f"{done} {more}")


def _waiting(fact: PlanWaiting) -> tuple[str, Sequence[str]]:
    return f"Retraining waits: {fact.monitor}", (f"Until {_time(fact.until)}: {_reason(fact.reason)}", "It is decided again then.")


def _asked(fact: ApprovalRequested) -> tuple[str, Sequence[str]]:
    cost = f"Expected: {clean(fact.cost.in_words(), MAX_ADDRESS)}." if fact.cost else ""
    how = (
        f"Say yes or no: {clean(fact.link, MAX_LINK)}"
        if fact.link
        else f"Say yes or no: driftsonde approve {fact.monitor}/{fact.episode}, or reject."
    )
    return f"Train a new model? {fact.monitor}", (how, cost, f"No answer until {_time(fact.until)} is a no.")


def _deployed(fact: DeploymentFinished) -> tuple[str, Sequence[str]]:
    # Of a model that only batch transforms use there is no endpoint.
    model, where = clean(fact.model), f"on endpoint {clean(fact.endpoint)}" if fact.endpoint else "in batch transforms"
    if fact.outcome == "rolled_back":
        return f"Rolled back: {fact.monitor}", (
            f"Model {model} does not stay {where}: {_reason(fact.reason)}",
            "The former model serves again.",
        )
    return f"Live: {fact.monitor}", (f"Model {model} serves {where} ({fact.strategy}).",)


def _refused(fact: PlanRefused) -> tuple[str, Sequence[str]]:
    return f"No retraining: {fact.monitor}", (f"The plan was refused: {_reason(fact.reason)}", "The champion stays in place.")


def _failed(fact: TrainingFailed) -> tuple[str, Sequence[str]]:
    return f"Retraining failed: {fact.monitor}", (f"Job {clean(fact.job)}: {_reason(fact.reason)}", "The champion stays in place.")


def _promoted(fact: ModelPromoted) -> tuple[str, Sequence[str]]:
    trained = f"Trained on {_count(len(fact.drops), 'drop')}, which become the next baseline."
    model = f"Model {clean(fact.model)} is the new champion (package {clean(fact.package, MAX_ADDRESS)})."
    return f"New champion: {fact.monitor}", (model, _scores(fact.scores), trained)


def _held(fact: ModelHeld) -> tuple[str, Sequence[str]]:
    why = f" {_reason(fact.reason)}" if fact.reason else ""
    return f"Champion stays: {fact.monitor}", (f"Model {clean(fact.model)} was not promoted.{why}", _scores(fact.scores))


def _batch(fact: BatchFinished) -> tuple[str, Sequence[str]]:
    if fact.state == "failed":
        return f"Predictions failed: {fact.monitor}", (f"Transform job {clean(fact.job)} failed: {_reason(fact.reason)}",)
    done = f"Predictions of the new champion are in {clean(fact.output, MAX_ADDRESS)}."
    return f"Predictions refreshed: {fact.monitor}", (done,)


def _anything(fact: Fact) -> tuple[str, Sequence[str]]:
    return f"{fact.TYPE}: {fact.monitor}", ()


_WORDS: Final[Mapping[type[Fact], Callable[[Any], tuple[str, Sequence[str]]]]] = {
    DriftDetected: _detected,
    DataUntrusted: _untrusted,
    DriftResolved: _resolved,
    DropRejected: _rejected,
    ApprovalRequested: _asked,
    DeploymentFinished: _deployed,
    PlanWaiting: _waiting,
    PlanRefused: _refused,
    TrainingFailed: _failed,
    ModelPromoted: _promoted,
    ModelHeld: _held,
    BatchFinished: _batch,
}


def _moved(summary: str, columns: Sequence[str], checks: Sequence[CheckResult]) -> tuple[str, str, str]:
    shown = {check.column for check in checks}
    others = [clean(column) for column in columns if column not in shown]
    names = ", ".join(others[:MAX_NAMES_LISTED]) + (", …" if len(others) > MAX_NAMES_LISTED else "")
    lines = "\n".join(_check(check) for check in checks)
    return (
        clean(summary, MAX_SENTENCE),
        lines and f"What moved:\n{lines}",
        names and f"Also moved ({_count(len(others), 'column')}): {names}",
    )


def _check(check: CheckResult) -> str:
    low, high = check.interval
    text = (
        f"• {clean(check.column)}: {CHECK_WORDS[check.check]} {check.score:.3g}, threshold {check.threshold:.3g}, "
        f"95 % interval {low:.3g} to {high:.3g}, p = {check.p_value:.1g}, {check.n:,} against {check.baseline_n:,} rows"
    )
    if check.moved:
        text += "; " + ", ".join(f"{clean(s.label, 40)} {s.baseline:.1%} → {s.window:.1%}" for s in check.moved[:2])
    return text


def _since(window: WindowRef, baseline: BaselineRef) -> str:
    span = f" ({_time(window.start)} to {_time(window.end)})" if window.start and window.end else ""
    return (
        f"Since: window {clean(window.id, MAX_ADDRESS)}{span}, {window.rows:,} rows, "
        f"against baseline {baseline.version} of {baseline.rows:,} rows."
    )


def _scores(scores: Scores) -> str:
    before = "no champion before" if scores.champion is None else f"champion {scores.champion:.4g}"
    better = "higher" if scores.direction == "max" else "lower"
    return (
        f"{clean(scores.metric)}: challenger {scores.challenger:.4g}, {before} "
        f"({better} is better, margin {scores.margin:.3g}, {scores.rows:,} held-out rows)."
    )


def _reason(reason: str) -> str:
    return clean(reason, MAX_SENTENCE) or "no reason given"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
