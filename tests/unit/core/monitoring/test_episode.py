"""Episodes are a function of the verdicts in window order, whatever order these arrived in."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.monitoring.episode import Closed, Judged, Opened, Span, Stored, find_spans, reconcile

STEADY = settings(derandomize=True, deadline=None)
WORDS = {"o": "ok", "w": "warning", "d": "drift", "i": "insufficient", "u": "untrusted"}

histories = st.text(alphabet="oowdiu", max_size=25)


def judged(history: str) -> list[Judged]:
    """One verdict per letter, in windows 00, 01, ..."""
    return [Judged(f"{index:02}", WORDS[letter]) for index, letter in enumerate(history)]


def spans(history: str, clear_after: int = 3) -> list[tuple[str, str, str | None]]:
    return [(span.kind, span.opened, span.cleared) for span in find_spans(judged(history), clear_after=clear_after)]


def apply(changes: Iterable[Opened | Closed], stored: Sequence[Stored]) -> list[Stored]:
    """Do what `reconcile` says, as a store would."""
    episodes = {episode.number: episode for episode in stored}
    for change in changes:
        if isinstance(change, Opened):
            assert change.number not in episodes, "a number is given once"
            episodes[change.number] = Stored(change.number, change.span.kind, change.span.opened, is_open=True)
        else:
            assert episodes[change.number].is_open, "only an open episode is closed"
            episodes[change.number] = replace(episodes[change.number], is_open=False)
    return [episodes[number] for number in sorted(episodes)]


def announce(verdicts: Sequence[Judged], stored: Sequence[Stored], clear_after: int) -> list[Stored]:
    ordered = sorted(verdicts, key=lambda verdict: verdict.window)
    return apply(reconcile(find_spans(ordered, clear_after=clear_after), stored), stored)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("", []),
        ("ooww", []),
        ("od", [("drift", "01", None)]),
        ("odoo", [("drift", "01", None)]),
        ("odooo", [("drift", "01", "04")]),
        ("odowo", [("drift", "01", "04")]),
        ("odoodooo", [("drift", "01", "07")]),
        ("odooodooo", [("drift", "01", "04"), ("drift", "05", "08")]),
        ("odiiiiii", [("drift", "01", None)]),
        ("odoioio", [("drift", "01", "06")]),
        ("oduuu", [("drift", "01", None), ("untrusted", "02", None)]),
        ("udooo", [("drift", "01", "04"), ("untrusted", "00", "04")]),
        ("iiuooo", [("untrusted", "02", "05")]),
    ],
)
def test_spans_open_at_alarms_and_clear_after_quiet(history: str, expected: list[tuple[str, str, str | None]]) -> None:
    assert spans(history) == expected


def test_quiet_windows_to_clear_are_a_parameter() -> None:
    assert spans("doddo", clear_after=1) == [("drift", "00", "01"), ("drift", "02", "04")]


def test_span_holds_every_window_from_opening_to_clearing() -> None:
    assert find_spans(judged("odioood"), clear_after=3)[0].windows == frozenset({"01", "02", "03", "04", "05"})


OPEN = Span("drift", "01", frozenset({"01", "02"}), None)
CLEARED = Span("drift", "01", frozenset({"01", "02", "03"}), "03")


def test_new_span_opens_the_next_number() -> None:
    assert reconcile([OPEN], []) == [Opened(1, OPEN)]
    assert reconcile([OPEN], [Stored(7, "untrusted", "00", is_open=False)]) == [Opened(8, OPEN)]


def test_numbers_go_on_from_the_last_ever_given() -> None:
    assert reconcile([OPEN], [], last=41) == [Opened(42, OPEN)]
    assert reconcile([OPEN], [Stored(50, "drift", "00", is_open=False)], last=41) == [Opened(51, OPEN)]


def test_span_that_came_and_went_is_opened_and_closed() -> None:
    assert reconcile([CLEARED], []) == [Opened(1, CLEARED), Closed(1, "drift", "recovered")]


def test_announced_episode_is_not_announced_again() -> None:
    assert reconcile([OPEN], [Stored(1, "drift", "01", is_open=True)]) == []
    assert reconcile([CLEARED], [Stored(1, "drift", "01", is_open=False)]) == []


def test_cleared_span_closes_its_episode_as_recovered() -> None:
    assert reconcile([CLEARED], [Stored(1, "drift", "01", is_open=True)]) == [Closed(1, "drift", "recovered")]


def test_episode_without_a_span_is_closed_as_revised() -> None:
    assert reconcile([], [Stored(1, "drift", "01", is_open=True), Stored(2, "drift", "05", is_open=False)]) == [
        Closed(1, "drift", "revised")
    ]


def test_earlier_opening_found_late_is_the_same_episode() -> None:
    assert reconcile([OPEN], [Stored(1, "drift", "02", is_open=True)]) == []


def test_alarms_that_go_on_after_closing_are_a_new_episode() -> None:
    assert reconcile([OPEN], [Stored(1, "drift", "01", is_open=False)]) == [Opened(2, OPEN)]


def test_episode_of_the_other_kind_is_left_alone() -> None:
    untrusted = Span("untrusted", "01", frozenset({"01", "02"}), None)
    assert reconcile([OPEN, untrusted], [Stored(1, "untrusted", "01", is_open=True)]) == [Opened(2, OPEN)]


def test_two_open_episodes_of_one_span_become_one() -> None:
    stored = [Stored(1, "drift", "01", is_open=True), Stored(2, "drift", "02", is_open=True)]
    assert reconcile([OPEN], stored) == [Closed(2, "drift", "revised")]


@settings(STEADY, max_examples=300)
@given(histories, st.integers(1, 3))
def test_arrival_in_order_announces_what_all_at_once_would(history: str, clear_after: int) -> None:
    verdicts, stored = judged(history), list[Stored]()
    for count in range(1, len(verdicts) + 1):
        stored = announce(verdicts[:count], stored, clear_after)
    at_once = announce(verdicts, [], clear_after)
    assert {(e.kind, e.opened, e.is_open) for e in stored} == {(e.kind, e.opened, e.is_open) for e in at_once}
    assert len(stored) == len(at_once)


@settings(STEADY, max_examples=500)
@given(histories, st.integers(1, 3), st.randoms(use_true_random=False))
def test_any_order_of_arrival_ends_with_the_same_open_episodes(history: str, clear_after: int, shuffler: random.Random) -> None:
    verdicts = judged(history)
    arriving = list(verdicts)
    shuffler.shuffle(arriving)
    stored = list[Stored]()
    for count in range(1, len(arriving) + 1):
        before = {episode.number for episode in stored}
        stored = announce(arriving[:count], stored, clear_after)
        assert before <= {episode.number for episode in stored}, "an episode is never un-opened"
        check_agreement(find_spans(sorted(arriving[:count], key=lambda verdict: verdict.window), clear_after=clear_after), stored)


@settings(STEADY, max_examples=300)
@given(histories.filter(bool), st.lists(st.tuples(st.integers(0, 24), st.sampled_from("owdiu")), max_size=6), st.integers(1, 3))
def test_revisions_keep_open_episodes_in_step(history: str, revisions: list[tuple[int, str]], clear_after: int) -> None:
    stored = announce(judged(history), [], clear_after)
    for place, letter in revisions:
        at = place % len(history)
        history = history[:at] + letter + history[at + 1 :]
        closed = {episode.number for episode in stored if not episode.is_open}
        stored = announce(judged(history), stored, clear_after)
        assert closed <= {episode.number for episode in stored if not episode.is_open}, "closed stays closed"
        check_agreement(find_spans(judged(history), clear_after=clear_after), stored)


def check_agreement(found: Sequence[Span], stored: Sequence[Stored]) -> None:
    """Each span that is open has one open episode, no other is open, every span was announced, and nothing is left to say."""
    still_open = [span for span in found if span.cleared is None]
    assert sorted(e.kind for e in stored if e.is_open) == sorted(span.kind for span in still_open)
    for span in found:
        mine = [e for e in stored if e.kind == span.kind and e.opened in span.windows]
        assert mine
        assert sum(e.is_open for e in mine) == (span.cleared is None)
    assert reconcile(found, stored) == []
