"""Windows by rows and by time: who joins which, when they are judged, when they are final."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from .conftest import MakeRig
from .support import BY_TIME, DAY, GARBAGE, HOUR, NOON, Rig, drop_body, parquet, rows, timed

BY_ROWS = {"by": "rows", "size": 500}


def spread(first: datetime, hours: int, shift: float = 0.0, seed: int = 0) -> bytes:
    """Return a drop of 120 rows an hour from a time on."""
    return timed([first + place * HOUR / 120 for place in range(120 * hours)], shift, seed)


async def test_rows_window_is_judged_when_it_is_full(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_ROWS).adopt()
    await rig.take(rig.put("in/1", drop_body(200)), rig.put("in/2", drop_body(200)))
    await rig.evaluated()
    assert rig.verdicts() == {"000000000001": None}
    await rig.take(rig.put("in/3", drop_body(400)))
    await rig.evaluated()
    assert rig.verdicts() == {"000000000001": "ok"}


async def test_drop_is_never_split_over_rows_windows(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_ROWS).adopt()
    await rig.take(*(rig.put(f"in/{number}", drop_body(400)) for number in range(5)))
    assert [key for _, key in rig.parts()] == [f"in/{number}" for number in range(5)]
    sizes: dict[str, int] = {}
    for row in rig.select("part"):
        sizes[row["window"]] = sizes.get(row["window"], 0) + row["rows"]
    assert sizes == {"000000000001": 800, "000000000002": 800, "000000000003": 400}


async def test_replaced_drop_stays_in_its_rows_window(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_ROWS).adopt()
    await rig.take(*(rig.put(f"in/{number}", drop_body(400)) for number in range(3)))
    await rig.evaluated()
    await rig.take(rig.put("in/0", drop_body(10)))
    await rig.evaluated()
    assert [(window[-1], key, len(data) > 0) for (window, key), data in rig.parts().items()] == [
        ("1", "in/0", True), ("1", "in/1", True), ("2", "in/2", True),
    ]  # fmt: skip
    assert [row["rows"] for row in rig.select("window")] == [410, 0]


async def test_full_rows_window_takes_no_more_when_it_shrinks(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_ROWS).adopt()
    await rig.take(rig.put("in/1", drop_body(600)))
    await rig.take(rig.put("in/1", drop_body(10)), rig.put("in/2", drop_body(200)))
    assert [(window[-1], key) for window, key in rig.parts()] == [("1", "in/1"), ("2", "in/2")]


async def test_unreadable_drop_spoils_its_rows_window(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_ROWS).adopt()
    await rig.take(rig.put("in/1", drop_body(400)), rig.put("in/2", GARBAGE), rig.put("in/3", drop_body(400)))
    await rig.evaluated()
    assert rig.verdicts() == {"000000000001": "untrusted"}


async def test_time_window_is_judged_when_data_moves_on(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    start = NOON - DAY
    await rig.take(rig.put("in/1", spread(start, 2)))
    await rig.evaluated()
    assert rig.verdicts() == {"2026-02-28T12:00:00Z": "ok", "2026-02-28T13:00:00Z": None}
    await rig.take(rig.put("in/2", spread(start + 2 * HOUR, 1)))
    await rig.evaluated()
    assert rig.verdicts()["2026-02-28T13:00:00Z"] == "ok"


async def test_time_window_is_judged_when_nothing_comes(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    await rig.take(rig.put("in/1", spread(NOON - HOUR, 1)))
    await rig.evaluated()
    assert list(rig.verdicts().values()) == [None]
    rig.clock.advance(2 * HOUR)
    await rig.evaluated()
    assert list(rig.verdicts().values()) == ["ok"]


async def test_late_rows_revise_a_window_until_it_is_final(make_rig: MakeRig) -> None:
    rig = await make_rig(window={**BY_TIME, "lateness": "1h"}).adopt()
    start = NOON - DAY
    await rig.take(rig.put("in/1", spread(start, 2)), rig.put("in/2", spread(start, 1, shift=2.0)))
    await rig.evaluated()
    assert rig.verdicts()["2026-02-28T12:00:00Z"] == "drift"
    await rig.take(rig.put("in/3", spread(start + 2 * HOUR, 1)))  # now the first window is final
    before = rig.parts()
    assert await rig.take(rig.put("in/4", spread(start, 1))) == ["too_late"]
    assert rig.parts() == before
    assert rig.counted("rows_left_out_total", reason="too_late") == 120


async def test_drop_too_late_for_some_windows_counts_in_others(make_rig: MakeRig) -> None:
    rig = await make_rig(window={**BY_TIME, "lateness": "1h"}).adopt()
    start = NOON - DAY
    await rig.take(rig.put("in/1", spread(start, 3)))
    assert await rig.take(rig.put("in/2", spread(start, 3))) == ["counted"]
    assert [window[11:13] for window, key in rig.parts() if key == "in/2"] == ["13", "14"]
    assert rig.counted("rows_left_out_total", reason="too_late") == 120
    assert rig.counted("rows_total") == 360 + 240


@pytest.mark.parametrize("how", ["overwritten", "removed"])
async def test_final_window_keeps_what_it_has(make_rig: MakeRig, how: str) -> None:
    rig = await make_rig(window={**BY_TIME, "lateness": "0s"}, on_remove="retract").adopt()
    start = NOON - DAY
    await rig.take(rig.put("in/1", spread(start, 1)))
    await rig.take(rig.put("in/2", spread(start + HOUR, 1)))
    await rig.evaluated()
    before = rig.parts()
    late = rig.put("in/1", spread(start, 1, shift=3.0)) if how == "overwritten" else rig.remove("in/1")
    assert await rig.take(late) == ["too_late"]
    await rig.evaluated()
    assert rig.parts() == before
    assert rig.verdicts()["2026-02-28T12:00:00Z"] == "ok"


async def test_overwrite_leaves_windows_it_no_longer_touches(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    start = NOON - DAY
    await rig.take(rig.put("in/1", spread(start, 2, shift=2.0)))
    rig.clock.advance(2 * HOUR)
    await rig.evaluated()
    await rig.take(rig.put("in/1", spread(start + HOUR, 1)))
    rig.clock.advance(2 * HOUR)
    await rig.evaluated()
    assert rig.verdicts() == {"2026-02-28T13:00:00Z": "ok"}
    assert [cause for *_, cause in rig.episodes()] == ["revised"]


async def test_rows_without_usable_time_are_counted_apart(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    start = NOON - DAY
    times = [start + place * HOUR / 200 for place in range(200)]
    strange = [None, datetime(1969, 1, 1, tzinfo=NOON.tzinfo), NOON + 3 * DAY]
    assert await rig.take(rig.put("in/1", timed([*times, *strange]))) == ["counted"]
    assert rig.counted("rows_left_out_total", reason="invalid_time") == 3
    assert rig.counted("rows_total") == 200
    assert [row["watermark"] for row in rig.select("progress")] == [times[-1]]


async def test_drop_over_too_many_windows_is_bounded(rig: Rig, make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    await rig.take(rig.put("in/1", timed([NOON - place * HOUR for place in range(130)])))
    assert len(rig.parts()) == 100
    assert rig.counted("rows_left_out_total", reason="invalid_time") == 30


async def test_drop_without_the_time_column_is_unreadable(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    assert await rig.take(rig.put("in/1", parquet(rows(200)))) == ["bad_rows"]
    rig.clock.advance(2 * HOUR)
    await rig.evaluated()
    assert list(rig.verdicts().values()) == ["untrusted"]


async def test_rows_from_the_future_do_not_move_the_watermark(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    await rig.take(rig.put("in/1", timed([NOON - HOUR, NOON + 20 * HOUR])))
    assert [row["watermark"] for row in rig.select("progress")] == [NOON]


async def test_watermark_never_goes_back(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    await rig.take(rig.put("in/1", timed([NOON - HOUR])), rig.put("in/2", timed([NOON - 9 * HOUR])), rig.put("in/3", GARBAGE))
    assert [row["watermark"] for row in rig.select("progress")] == [NOON - HOUR]


async def test_csv_of_bad_rows_alone_is_not_empty(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    assert await rig.take(rig.put("in/1.csv", b"ts,x,c\n" + b"1,2,3,4,5\n" * 20)) == ["bad_rows"]


async def test_idle_window_is_open_again_when_more_comes(make_rig: MakeRig) -> None:
    rig = await make_rig(window=BY_TIME).adopt()
    await rig.take(rig.put("in/1", spread(NOON - HOUR, 1)))
    rig.clock.advance(2 * HOUR)
    await rig.evaluated()
    await rig.take(rig.put("in/2", spread(NOON - HOUR, 1, shift=3.0)))
    await rig.evaluated()
    assert list(rig.verdicts().values()) == ["ok"]
    rig.clock.advance(timedelta(hours=2))
    await rig.evaluated()
    assert list(rig.verdicts().values()) == ["drift"]
    assert [(fact["before"], fact["after"]) for fact in rig.facts("verdict.revised")] == [("ok", "drift")]
