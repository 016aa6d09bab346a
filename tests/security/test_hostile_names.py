"""Object keys and column names of any kind: counted, or refused with a reason; never a path, never too large to tell."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import pyarrow as pa
import pytest

from driftsonde.core.building import BuildOptions, build
from driftsonde.core.errors import POISON_REASONS, PoisonError
from driftsonde.core.events import MAX_BYTES, parse_event
from driftsonde.core.testing.queue import MemoryLease
from unit.detector.support import BUCKET, Rig, drop_body, message, parquet

KEYS = [
    "in/../../etc/passwd", "in//../..//x", "in/./x", "in/%00", "in/%2e%2e%2f", "in/a\nb", "in/a\r\n\r\nHTTP/1.1 200", "in/\x1b[31mred\x1b[0m", "in/\x1b]0;title\x07", "in/abc\u202egnp.csv",
    "in/zero\u200bwidth", "in/\ufeffbom", "in/s3://other/key", "in/https://169.254.169.254/latest", "in/" + "k" * 1021, "in/" + "é" * 510, "in/<!channel>", "in/' OR 1=1 --", "in/`id`$(id)",
    "in/a b+c&d=e?f#g", "in/\\..\\..\\windows", "in/C:\\x", "in/\u2028\u2029", "in/\U0001f600", "in/{0.__class__}", "in/%s%n%d", "in/[red]x[/red]", "in/*?[a]", "in/-rf", "in/\x7f\x01",
]  # fmt: skip
REFUSED_KEYS = [
    ("in/\x00", "bad_key"),
    ("in/" + "k" * 1022, "bad_key"),
    ("in/" + "\U0001f600" * 256, "bad_key"),
    ("in/" + "k" * 5000, "unknown_shape"),
    ("", "unknown_shape"),
]
COLUMNS = [
    "../../etc/passwd", "%00", "a\x00b", "line\nbreak", "\x1b[31mred", "\u202egnp", "zero\u200bwidth", "<!channel>", "*_~`", "' OR 1=1 --", "", " ", "Ä", "A\u0308", "x" * 256, "x" * 10_000, "é" * 10_000,
    "\x00" * 256, "name", "Name", "NAME", "[red]", "[/]", "=cmd()", "{0}", "%s", "\ufffd", "\uffff", "\U0010ffff", "constructor", "__proto__", "__index_level_0__",
]  # fmt: skip


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A detector whose working directory must stay empty."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = Rig(f"sqlite:///{tmp_path}/detector.db")
    yield made
    made.close()
    assert os.listdir(tmp_path / "here") == []
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"here", "detector"}


async def handle(rig: Rig, body: str) -> str:
    """Handle a message as the consumer does; returns `ok` or the reason it is dead-lettered for."""
    try:
        await rig.intake.handle(MemoryLease(rig.queue, body, 1))
    except PoisonError as exc:
        await rig.queue.dead_letter(body, exc.reason, str(exc))
        return exc.reason
    return "ok"


def bridged(key: str, etag: str) -> str:
    """Return an event of EventBridge, in which keys are not encoded."""
    detail = {"bucket": {"name": BUCKET}, "object": {"key": key, "size": 1, "etag": etag, "sequencer": "01"}}
    return json.dumps({"source": "aws.s3", "detail-type": "Object Created", "time": "2026-03-01T12:00:00Z", "detail": detail})


def check_events(rig: Rig) -> list[Any]:
    """Return every event's data, after each was parsed again and measured."""
    bodies = [row["body"].encode() for row in rig.select("outbox")]
    assert all(len(body) <= MAX_BYTES for body in bodies)
    return [parse_event(body).data for body in bodies]


@pytest.mark.parametrize("shape", ["direct", "bridged"])
async def test_hostile_keys_are_counted_and_judged(rig: Rig, shape: str) -> None:
    await rig.adopt()
    for key in KEYS:
        drop = rig.put(key, drop_body(shift=3.0))
        assert await handle(rig, message(drop) if shape == "direct" else bridged(key, str(drop.etag))) == "ok"
    await rig.evaluated()
    assert rig.outcomes() == {"counted": len(KEYS)}
    assert set(rig.objects_known()) == set(KEYS)
    assert set(rig.verdicts().values()) == {"drift"}
    assert [event.TYPE for event in check_events(rig)] == ["baseline.adopted", "drift.detected"]


async def test_hostile_keys_of_unreadable_drops_are_told_of(rig: Rig) -> None:
    await rig.adopt()
    for key in KEYS:
        assert await handle(rig, message(rig.put(key, b"PAR1 nothing"))) == "unreadable"
    rejected = [event.drop.key for event in check_events(rig) if event.TYPE == "drop.rejected"]
    assert rejected == KEYS
    assert [reason for _, reason in rig.queue.dead_letters] == ["unreadable"] * len(KEYS)


@pytest.mark.parametrize(("key", "reason"), REFUSED_KEYS)
async def test_key_that_s3_cannot_have_is_dead_lettered(rig: Rig, key: str, reason: str) -> None:
    await rig.adopt()
    reads = rig.objects.reads
    record = json.loads(message(rig.event("in/x")))
    record["Records"][0]["s3"]["object"]["key"] = quote_plus(key)
    assert await handle(rig, bridged(key, "e")) == reason
    assert await handle(rig, json.dumps(record)) in ("ok", reason)  # of several records the bad one is dead-lettered alone
    assert [found for _, found in rig.queue.dead_letters] == [reason, reason] or len(key) > 1400
    assert rig.objects.reads == reads


@pytest.mark.parametrize("key", ["in/%ED%A0%80", "in/%ff", "in/%c3%28", "in/%C0%AF"])
async def test_key_that_is_no_text_is_dead_lettered(rig: Rig, key: str) -> None:
    await rig.adopt()
    record = json.loads(message(rig.event("in/x")))
    record["Records"][0]["s3"]["object"]["key"] = key
    await handle(rig, json.dumps(record))
    assert [reason for _, reason in rig.queue.dead_letters] == ["bad_key"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("key", "etag", "version-id") for value in ("in/\ud800", "in/\x00", "x" * 5000)),
        ("size", 10**30),
        ("size", -1),
        ("sequencer", "\ud800"),
        ("time", "0001-01-01T00:00:00+14:00"),
        ("time", "9999-12-31T23:59:59-14:00"),
    ],
)
async def test_value_that_no_database_takes_is_dead_lettered(rig: Rig, field: str, value: object) -> None:
    await rig.adopt()
    event = json.loads(bridged("in/x", "e"))
    (event if field == "time" else event["detail"]["object"])[field] = value
    assert await handle(rig, json.dumps(event)) in POISON_REASONS
    assert len(rig.queue.dead_letters) == 1


def table(names: list[str], shift: float = 0.0, count: int = 400, seed: int = 0) -> pa.Table:
    """Return rows of numbers under these names."""
    values = np.random.default_rng(seed)
    return pa.table([pa.array(values.normal(shift, 1, count)) for _ in names], names=names)


async def adopt(rig: Rig, names: list[str]) -> dict[str, str]:
    """Adopt a baseline of these columns; returns those that are not tested, with the reason."""
    frozen, _ = build(table(names, count=2000, seed=9).to_batches, BuildOptions(bins=32))
    await rig.adopt(frozen.data)
    return frozen.untested


async def test_hostile_columns_are_counted_judged_and_told(rig: Rig) -> None:
    untested = await adopt(rig, COLUMNS)
    assert set(untested) == {"x" * 10_000, "é" * 10_000, "__index_level_0__"}
    assert "longer than 256 characters" in untested["x" * 10_000]
    assert await handle(rig, message(rig.put("in/x.parquet", parquet(table(COLUMNS, shift=3.0))))) == "ok"
    await rig.evaluated()
    assert rig.verdicts() == {"x.parquet": "drift"}
    told = next(event for event in check_events(rig) if event.TYPE == "drift.detected")
    assert set(told.columns) == set(COLUMNS) - set(untested)


async def test_columns_that_vanish_make_data_untrusted_whatever_their_names(rig: Rig) -> None:
    await adopt(rig, COLUMNS)
    await handle(rig, message(rig.put("in/x.parquet", parquet(table(["name"])))))
    await rig.evaluated()
    assert rig.verdicts() == {"x.parquet": "untrusted"}
    assert [event.TYPE for event in check_events(rig)] == ["baseline.adopted", "data.untrusted"]


async def test_many_columns_of_the_longest_names_fit_into_an_event(rig: Rig) -> None:
    names = [f"{n}{chr(1) * 250}" for n in range(300)]  # six bytes of JSON each
    await adopt(rig, names)
    await handle(rig, message(rig.put("in/x.parquet", parquet(table(names, shift=3.0)))))
    await rig.evaluated()
    assert rig.verdicts() == {"x.parquet": "drift"}
    assert [event.TYPE for event in check_events(rig)] == ["baseline.adopted", "drift.detected"]


async def test_thousand_unknown_columns_of_long_names_are_listed_in_short(rig: Rig) -> None:
    await rig.adopt()
    body = table(["x", *(f"{n}{'y' * 500}" for n in range(1_000))], count=2)
    await handle(rig, message(rig.put("in/x.parquet", parquet(body.append_column("c", pa.array(["a", "b"]))))))
    await rig.evaluated()
    detail = rig.select("window")[0]["detail"]
    assert len(detail) < 100_000
    assert len(json.loads(detail)["new"]) == 100


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_hostile_columns_in_text_formats_are_taken_or_refused(rig: Rig, form: str) -> None:
    await rig.adopt()
    for n, name in enumerate(COLUMNS):
        quoted = name.replace('"', '""')
        body = f'x,c,"{quoted}"\n1,a,2\n' if form == "csv" else json.dumps({"x": 1, "c": "a", name: 2}) + "\n"
        await handle(rig, message(rig.put(f"in/{n}.{form}", body.encode())))
    await rig.evaluated()
    assert sum(rig.outcomes().values()) + len(rig.queue.dead_letters) == len(COLUMNS)
    assert len(rig.verdicts()) == len(COLUMNS)
    check_events(rig)


@pytest.mark.parametrize(
    "body",
    [
        b"x,c,\xff\xfe\n1,a,2\n",
        b'{"x": 1, "c": "a", "\\ud800": 2}\n',
        b'{"x": 1, "x": 2, "c": "a"}\n',
        b"x,x,c\n1,2,a\n",
        b"x,c,\xed\xa0\x80\n1,a,2\n",
        b"\x00,x,c\n1,1,a\n",
    ],
    ids=["not utf-8", "surrogate", "twice in json", "twice in csv", "surrogate in csv", "nul"],
)
async def test_names_that_are_no_text_or_come_twice_have_an_end(rig: Rig, body: bytes) -> None:
    await rig.adopt()
    form = "jsonl" if body.startswith(b"{") else "csv"
    outcome = await handle(rig, message(rig.put(f"in/x.{form}", body)))
    await rig.evaluated()
    assert outcome in ("ok", *POISON_REASONS)
    assert rig.outcomes() == ({"counted": 1.0} if outcome == "ok" else {})
    assert rig.verdicts()["x." + form] is not None
    check_events(rig)


async def test_columns_twice_in_parquet_are_refused(rig: Rig) -> None:
    await rig.adopt()
    sink = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["x", "x"]), sink)
    assert await handle(rig, message(rig.put("in/x.parquet", sink.getvalue()))) == "unreadable"
    await rig.evaluated()
    assert rig.verdicts() == {"x.parquet": "untrusted"}


async def test_names_that_only_look_alike_are_different_columns(rig: Rig) -> None:
    names = ["é", unicodedata.normalize("NFD", "é"), "É", "a", "A", "а"]
    await adopt(rig, names)
    moved = table(names).set_column(0, "é", pa.array(np.random.default_rng(1).normal(5, 1, 400)))
    await handle(rig, message(rig.put("in/x.parquet", parquet(moved))))
    await rig.evaluated()
    assert next(event for event in check_events(rig) if event.TYPE == "drift.detected").columns == ("é",)
