"""Bad rows are counted; an object that cannot be read is an UnreadableObject that names it."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from driftsonde.core.errors import DriftsondeError, GoneError, RetryableError, SupersededError, UnreadableObject
from driftsonde.core.readers import Format, Limits, LocalSource, Source, open_table
from driftsonde.core.readers.source import Span

CSV = b"a,b\n" + b"".join(b"%d,text %d\n" % (index, index * 7919) for index in range(20_000))
JSON = b"".join(b'{"a": %d, "b": "text %d"}\n' % (index, index * 7919) for index in range(20_000))
SMALL = Limits(block_bytes=4096)


class Bytes:
    """A source in memory; `size` may lie."""

    def __init__(self, name: str, data: bytes, *, size: int | None = None) -> None:
        self.name, self.size, self.verified = name, len(data) if size is None else size, False
        self._data = data

    def read(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]

    def start(self, spans: Sequence[Span]) -> Callable[[], list[bytes]]:
        return lambda: [self.read(*span) for span in spans]


class Failing(Bytes):
    """A source that fails from its nth read on."""

    def __init__(self, name: str, data: bytes, *, after: int, error: DriftsondeError) -> None:
        super().__init__(name, data)
        self._left, self._error = after, error

    def read(self, start: int, stop: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return super().read(start, stop)


def read(source: Source, *, form: Format = "auto", limits: Limits | None = None) -> tuple[int, int]:
    """Return how many rows were good and bad."""
    reader = open_table(source, form=form, limits=limits)
    rows = sum(batch.num_rows for batch in reader.batches())
    return rows, reader.bad_rows


def column(source: Source, name: str, *, limits: Limits | None = None) -> list[object]:
    batches = open_table(source, limits=limits).batches()
    return [value for batch in batches if name in batch.schema.names for value in batch.column(name).to_pylist()]


def parquet(rows: int = 20_000, **options: object) -> bytes:
    out = pa.BufferOutputStream()
    random = np.random.default_rng(0)
    pq.write_table(pa.table({"a": random.normal(size=rows), "b": [f"text {index}" for index in range(rows)]}), out, **options)
    return bytes(out.getvalue())


PARQUET = parquet(row_group_size=5_000)
CHECKED = zstandard.ZstdCompressor(write_checksum=True).compress(CSV)
UTF16 = "a,b\n1,2\n".encode("utf-16")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.csv", b""),
        ("empty.parquet", b""),
        ("utf16.csv", UTF16),
        ("utf16-be.jsonl", b"\xfe\xff" + '{"a": 1}\n'.encode("utf-16-be")),
        ("utf16-without-mark.csv", "a,b\n1,2\n".encode("utf-16-le")),
        ("utf16.csv.gz", gzip.compress(UTF16)),
        ("latin1-header.csv", "größe,b\n1,2\n".encode("latin-1")),
        ("latin1-values.csv", "a,b\n1,größe\n".encode("latin-1")),
        ("nul.csv", b"\x00" * 5_000),
        ("nul-in-header.csv", b"a\x00,b\n1,2\n"),
        ("binary", bytes(range(256)) * 40),
        ("blank.csv", b"\n\n\n"),
        ("old-mac.csv", b"a,b\r1,2\r3,4\r"),
        ("twice.csv", b"a,b,a\n1,2,3\n"),
        ("endless-field.csv", b"a," + b"b" * 140_000 + b"\n"),
        ("wrong-magic.parquet", b"PAR2" + PARQUET[4:]),
        ("csv.parquet", CSV),
        ("magic-only.parquet", b"PAR1"),
        ("zeros.parquet", b"PAR1" + bytes(1_000)),
        ("no-tail.parquet", PARQUET[:-1]),
        ("half.parquet", PARQUET[: len(PARQUET) // 2]),
        ("footer-length.parquet", PARQUET[:-8] + b"\xff\xff\xff\x7f" + PARQUET[-4:]),
        ("hole.parquet", PARQUET[:1_000] + bytes(60_000) + PARQUET[61_000:]),
        ("encrypted.parquet", PARQUET[:-4] + b"PARE"),
        ("cut.csv.gz", gzip.compress(CSV)[:-100]),
        ("cut.jsonl.gz", gzip.compress(JSON)[:-5]),
        ("cut.csv.zst", zstandard.compress(CSV)[:-100]),
        ("cut.jsonl.zst", zstandard.compress(JSON)[:-1]),
        ("damaged.csv.gz", gzip.compress(CSV)[:500] + b"\xff" * 50 + gzip.compress(CSV)[550:]),
        ("damaged.csv.zst", CHECKED[:500] + b"\xff" * 50 + CHECKED[550:]),
        ("garbage-after.csv.gz", gzip.compress(CSV) + b"garbage"),
        ("magic-only.csv.gz", b"\x1f\x8b"),
        ("magic-only.csv.zst", b"\x28\xb5\x2f\xfd"),
        ("endless-line.jsonl", b'{"a": "' + b"x" * 6_000_000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_object_that_cannot_be_read_is_named(name: str, data: bytes) -> None:
    with pytest.raises(UnreadableObject, match=name) as caught:
        read(Bytes(name, data))
    assert caught.value.reason in UnreadableObject.REASONS


def test_header_line_without_an_end_is_refused() -> None:
    with pytest.raises(UnreadableObject, match=r"endless\.csv has a header line of 4,097 bytes or more, more than 4,096"):
        read(Bytes("endless.csv", b"a" * 100_000), limits=SMALL)


def test_object_shorter_than_announced_is_unreadable() -> None:
    for name, data in {"a.parquet": PARQUET, "a.csv": CSV, "a.jsonl": JSON, "a.csv.gz": gzip.compress(CSV)}.items():
        with pytest.raises(UnreadableObject, match=name):
            read(Bytes(name, data, size=len(data) + 1_000_000))


def test_damaged_parquet_never_raises_anything_else() -> None:
    random = np.random.default_rng(5)
    footer = int.from_bytes(PARQUET[-8:-4], "little") + 8
    for place in random.integers(len(PARQUET) - footer, len(PARQUET), 150):
        damaged = PARQUET[:place] + bytes([PARQUET[place] ^ int(random.integers(1, 256))]) + PARQUET[place + 1 :]
        with contextlib.suppress(UnreadableObject):
            read(Bytes("a.parquet", damaged))


def test_format_that_is_forced_is_held_to() -> None:
    with pytest.raises(UnreadableObject, match=r"a\.csv is not readable Parquet"):
        read(Bytes("a.csv", CSV), form="parquet")
    with pytest.raises(UnreadableObject, match=r"a\.parquet"):
        read(Bytes("a.parquet", PARQUET), form="csv")
    assert read(Bytes("a.csv", JSON), form="jsonl") == (20_000, 0)


def test_quoted_newlines_and_delimiters_stay_in_their_cell() -> None:
    data = b'a,b\n1,"two\nlines, and a ""quote"""\n2,plain\n'
    assert column(Bytes("a.csv", data), "b") == ['two\nlines, and a "quote"', "plain"]


def test_quoted_newlines_may_straddle_blocks() -> None:
    data = b"a,b\n" + b'1,"line\nline"\n' * 5_000
    assert read(Bytes("a.csv", data), limits=SMALL) == (5_000, 0)


def test_ragged_rows_are_counted_as_bad() -> None:
    data = b"a,b\n1,2\n3\n4,5,6\n7,8\n"
    assert read(Bytes("a.csv", data)) == (2, 2)


def test_lines_that_are_no_json_objects_are_counted_as_bad() -> None:
    lines = [b'{"a": 1}', b"{broken", b"[1]", b"7", b"", b'{"a": 2, "b": "x"}', b"\xff\xfe", b"[" * 10_000, b"null"]
    assert read(Bytes("a.jsonl", b"\n".join(lines))) == (2, 6)
    assert column(Bytes("a.jsonl", b"\n".join(lines)), "a") == [1, 2]


@pytest.mark.parametrize(
    "line",
    [b"null", b"  null", b"\xef\xbb\xbfnull", b"[" * 300_000, b'{"a": ' * 150_000, b'{"a": ' + b"[" * 300_000 + b"]" * 300_000 + b"}",
     b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, b'{"a": ' * 994 + b"1" + b"}" * 994],
    ids=lambda line: f"{line[:6]!r} {len(line)}",
)  # fmt: skip
def test_lines_on_which_arrow_crashes_are_survived(line: bytes) -> None:
    for data in (line, line + b"\n", line + b"\n" + b'{"a": "x"}\n', b'{"a": 1}\n' + line):
        rows, bad = read(Bytes("a.jsonl", data))
        assert rows + bad == data.strip().count(b"\n") + 1


def test_one_bad_line_of_many_blocks_costs_one_row() -> None:
    place = JSON.index(b"\n", 100_000) + 1
    assert read(Bytes("a.jsonl", JSON[:place] + b"{broken\n" + JSON[place:]), limits=SMALL) == (20_000, 1)


def test_last_line_without_a_newline_is_a_row() -> None:
    assert read(Bytes("a.jsonl", JSON.rstrip())) == (20_000, 0)
    assert read(Bytes("a.csv", CSV.rstrip())) == (20_000, 0)


def test_types_may_change_between_json_blocks() -> None:
    rows = [{"a": value, "b": 1} for value in [*range(1_000), *[0.5] * 1_000, *["n/a"] * 1_000, *[None] * 1_000, *[[1]] * 1_000]]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    reader = open_table(Bytes("a.jsonl", data), limits=SMALL)
    batches = list(reader.batches())
    assert sum(batch.num_rows for batch in batches) == 5_000
    assert len({str(batch.schema.field("a").type) for batch in batches}) > 2
    assert reader.bad_rows == 0


def test_types_may_change_between_lines_of_a_block() -> None:
    data = b'{"a": 1}\n{"a": "x"}\n{"a": true}\n{"a": null}\n{"b": [1]}\n{"a": {"c": 2}}\n{"a": 1e999}\n{"a": 123456789012345678901234567890}\n'
    values = column(Bytes("a.jsonl", data), "a")
    assert len(values) == 8
    assert values[:5] == ["1", "x", "true", None, None]


def test_lone_surrogates_in_json_are_replaced() -> None:
    data = b'{"a": "\\ud800", "\\udfff": 1}\n{broken\n'
    reader = open_table(Bytes("a.jsonl", data))
    assert [batch.to_pylist() for batch in reader.batches()] == [[{"a": "?", "?": 1}]]


def test_object_that_unpacks_to_too_much_is_refused() -> None:
    limits = Limits(max_unpacked_bytes=1_000_000)
    for name, data in {
        "bomb.csv.gz": gzip.compress(b"a\n" * 10_000_000),
        "bomb.jsonl.zst": zstandard.compress(b'{"a": 1}\n' * 1_000_000),
    }.items():
        with pytest.raises(UnreadableObject, match=r"more than 1,000,000 \(limits: max_unpacked_bytes\)") as caught:
            read(Bytes(name, data), limits=limits)
        assert caught.value.reason == "too_large"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_object_with_too_many_columns_is_refused(name: str, tmp_path: Path) -> None:
    names = [f"c{index}" for index in range(11)]
    path = tmp_path / name
    if name == "a.csv":
        path.write_text(",".join(names) + "\n")
    elif name == "a.jsonl":
        path.write_text(json.dumps(dict.fromkeys(names, 1)))
    else:
        pq.write_table(pa.table({name: [1] for name in names}), path)
    assert read(LocalSource(path), limits=Limits(max_columns=11))[1] == 0
    with pytest.raises(UnreadableObject, match="more than 10") as caught:
        read(LocalSource(path), limits=Limits(max_columns=10))
    assert caught.value.reason == "too_large"


def test_parquet_that_names_a_column_twice_is_refused() -> None:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), out)
    with pytest.raises(UnreadableObject, match=r"a\.parquet names a column twice"):
        read(Bytes("a.parquet", bytes(out.getvalue())))


OBJECTS = {
    "a.parquet": parquet(400_000, row_group_size=50_000, use_dictionary=False, compression="none"),
    "a.csv": CSV * 30,
    "a.csv.gz": gzip.compress(np.random.default_rng(0).bytes(6_000_000).hex().encode().replace(b"0", b"\n"), compresslevel=1),
    "a.csv.zst": zstandard.compress(np.random.default_rng(0).bytes(6_000_000).hex().encode().replace(b"0", b"\n")),
    "a.jsonl": JSON * 20,
}


@pytest.mark.parametrize(
    "error", [GoneError("gone"), SupersededError("replaced"), RetryableError("later", retry_after=7)], ids=lambda e: e.reason
)
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("name", OBJECTS)
def test_fault_of_the_source_passes_through_unchanged(name: str, after: int, error: DriftsondeError) -> None:
    with pytest.raises(type(error)) as caught:
        read(Failing(name, OBJECTS[name], after=after, error=error))
    assert caught.value is error
