"""Windows: where they start, what they are called, when they can be judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.monitoring.window import (
    NO_TIME,
    capped,
    from_micros,
    is_closed,
    is_final,
    object_order,
    start_of,
    starts,
    time_window_id,
)

STEADY = settings(derandomize=True, deadline=None)
HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
times = st.integers(-2_000_000_000_000_000, 7_000_000_000_000_000).map(
    lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)
lengths = st.sampled_from([timedelta(seconds=1), timedelta(minutes=7), HOUR, timedelta(days=1), timedelta(weeks=1)])


def micros(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@settings(STEADY, max_examples=200)
@given(times, lengths)
def test_time_lies_in_the_window_that_it_is_given(when: datetime, length: timedelta) -> None:
    start = start_of(when, length)
    assert start <= when < start + length
    assert start_of(start, length) == start
    assert starts(np.array([micros(when)]), length).tolist() == [micros(start)]


def test_windows_are_aligned_to_1970_also_before_it() -> None:
    assert start_of(datetime(1969, 12, 31, 23, 59, tzinfo=UTC), HOUR) == datetime(1969, 12, 31, 23, tzinfo=UTC)
    assert start_of(NOON + timedelta(minutes=59), HOUR) == NOON


def test_row_without_a_time_stays_without_a_window() -> None:
    assert starts(np.array([NO_TIME, 0, 1]), timedelta(microseconds=2)).tolist() == [NO_TIME, 0, 0]


def test_identifier_is_in_utc_and_sorts_as_time() -> None:
    berlin = NOON.astimezone(timezone(HOUR))
    assert time_window_id(berlin) == time_window_id(NOON) == "2026-03-01T12:00:00Z"
    assert time_window_id(NOON) < time_window_id(NOON + HOUR)


@settings(STEADY, max_examples=100)
@given(times)
def test_microseconds_and_times_turn_into_each_other(when: datetime) -> None:
    assert from_micros(micros(when)) == when


def test_objects_are_ordered_by_time_then_bucket_then_key() -> None:
    later = NOON + timedelta(microseconds=1)
    orders = [object_order(*parts) for parts in ((NOON, "a", "b"), (NOON, "a", "c"), (NOON, "ab", "a"), (later, "a", "a"))]
    assert orders == sorted(orders)


@pytest.mark.parametrize(
    ("watermark", "last_drop", "closed"),
    [
        (None, None, False),
        (NOON, None, True),
        (NOON - timedelta(microseconds=1), None, False),
        (None, NOON - HOUR, True),
        (None, NOON - HOUR + timedelta(microseconds=1), False),
        (NOON - HOUR, NOON, False),
    ],
)
def test_window_closes_by_watermark_or_idleness(watermark: datetime | None, last_drop: datetime | None, closed: bool) -> None:
    assert is_closed(NOON, watermark, last_drop, NOON, idle=HOUR) == closed


def test_window_is_final_once_lateness_has_passed() -> None:
    assert not is_final(NOON, None, lateness=HOUR)
    assert not is_final(NOON, NOON + HOUR - timedelta(microseconds=1), lateness=HOUR)
    assert is_final(NOON, NOON + HOUR, lateness=HOUR)


def test_row_from_the_future_does_not_move_the_watermark_past_now() -> None:
    assert capped(NOON + HOUR, NOON) == NOON
    assert capped(NOON - HOUR, NOON) == NOON - HOUR
