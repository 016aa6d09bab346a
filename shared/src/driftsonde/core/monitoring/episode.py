"""Episodes: from the first alarm to recovery. Which there are is a function of the verdicts in window order, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

EpisodeKind = Literal["drift", "untrusted"]
Cause = Literal["recovered", "revised", "rebaselined"]
KINDS: tuple[EpisodeKind, ...] = ("drift", "untrusted")

_QUIET = frozenset({"ok", "warning"})


@dataclass(frozen=True, slots=True)
class Judged:
    """A window's place in the order, and the word of its verdict."""

    window: str
    word: str


@dataclass(frozen=True, slots=True)
class Span:
    """What the verdicts say: `kind` from the window that opened it to the one that cleared it (None: still open)."""

    kind: EpisodeKind
    opened: str
    windows: frozenset[str]
    cleared: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """An episode that was announced. `opened`: the window that opened it."""

    number: int
    kind: EpisodeKind
    opened: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """An episode to announce."""

    number: int
    span: Span


@dataclass(frozen=True, slots=True)
class Closed:
    """An episode to close, and why."""

    number: int
    kind: EpisodeKind
    cause: Cause


def find_spans(verdicts: Iterable[Judged], *, clear_after: int) -> list[Span]:
    """Fold verdicts in window order into the episodes that they amount to.

    An episode of a kind opens at a verdict of that word and clears after `clear_after` quiet windows (ok or warning) in a
    row. A window that could not be judged, or that alarms for the other reason, proves neither.
    """
    verdicts = list(verdicts)
    return [span for kind in KINDS for span in _spans_of(kind, verdicts, clear_after)]


def _spans_of(kind: EpisodeKind, verdicts: Sequence[Judged], clear_after: int) -> list[Span]:
    spans: list[Span] = []
    opened: str | None = None
    members: list[str] = []
    quiet = 0
    for verdict in verdicts:
        if verdict.word == kind:
            opened, quiet = opened or verdict.window, 0
            members.append(verdict.window)
        elif opened is not None:
            members.append(verdict.window)
            quiet += verdict.word in _QUIET
            if quiet >= clear_after:
                spans.append(Span(kind, opened, frozenset(members), verdict.window))
                opened, members, quiet = None, [], 0
    if opened is not None:
        spans.append(Span(kind, opened, frozenset(members), None))
    return spans


def is_confirmed(verdicts: Sequence[Judged], opened: str, *, windows: int, of: int) -> bool:
    """Tell whether drift went on: so many of the latest `of` windows alarmed at some time since a window opened an episode.

    Args:
        verdicts: in window order; the opening window is among them.
        windows: at least 1, at most `of`.
    """
    words = [verdict.window for verdict in verdicts]
    since = [verdict.word == "drift" for verdict in verdicts[words.index(opened) :]] if opened in words else []
    return any(sum(since[max(0, end - of) : end]) >= windows for end in range(1, len(since) + 1))


def reconcile(spans: Sequence[Span], stored: Sequence[Stored], *, last: int = 0) -> list[Opened | Closed]:
    """Say what to announce so that the stored episodes agree with the verdicts.

    An episode is never un-opened: one whose cause a revision removed is closed as `revised`. A closed episode is never
    opened again; alarms that go on after it are a new one.

    Args:
        spans: what the verdicts say now.
        stored: every episode announced so far that the spans could mean, in order of number.
        last: the highest number ever given, where `stored` does not hold them all.
    """
    changes: list[Opened | Closed] = []
    number = max(last, *(episode.number for episode in stored), 0)
    matched: set[int] = set()
    for span in sorted(spans, key=lambda span: span.cleared is None):
        mine = [episode for episode in stored if episode.kind == span.kind and episode.opened in span.windows]
        matched |= {episode.number for episode in mine}
        still_open = [episode for episode in mine if episode.is_open]
        if span.cleared is not None:
            changes += [Closed(episode.number, episode.kind, "recovered") for episode in still_open]
        elif len(still_open) > 1:
            changes += [Closed(episode.number, episode.kind, "revised") for episode in still_open[1:]]
        if not mine or (span.cleared is None and not still_open):
            number += 1
            changes.append(Opened(number, span))
            if span.cleared is not None:
                changes.append(Closed(number, span.kind, "recovered"))
    changes += [Closed(e.number, e.kind, "revised") for e in stored if e.is_open and e.number not in matched]
    return changes
