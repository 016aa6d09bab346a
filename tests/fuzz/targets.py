"""What is fuzzed: each target has a few good inputs, and a function that takes any bytes."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from driftsonde.core.api import Baseline
from driftsonde.core.config import load_config
from driftsonde.core.counting import count_object
from driftsonde.core.drops import parse_notification
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.readers import Format, LocalSource
from driftsonde.core.sketch.codec import SketchError, decode_table, encode_table, pack, unpack

REFUSALS: Final = (DriftsondeError, SketchError)
"""How an input may be refused; whatever else is raised is a failure."""

NAMES: Final = ("parquet", "csv", "json", "events", "sketches", "config")

_ROWS: Final = 200
_CONFIG: Final = """
monitors:
  - name: churn
    drops: s3://bucket/in/
    baseline: s3://bucket/base/
    window: {by: time, column: at, size: 1h}
    columns: {categorical: [plan]}
    notify: [team]
channels:
  team: {type: webhook, url_file: /run/secrets/hook}
"""


class Target(NamedTuple):
    """Something that takes bytes from outside.

    Args:
        corpus: good inputs.
        take: reads an input; raises one of `REFUSALS` if it is none.
    """

    corpus: list[bytes]
    take: Callable[[bytes], object]


@cache
def _baseline() -> FrozenBaseline:
    built: FrozenBaseline = Baseline.build(_table())
    return built


def _table() -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table({
        "x": random.normal(size=_ROWS), "n": random.integers(0, 9, _ROWS), "plan": random.choice(["free", "pro"], _ROWS),
        "note": [None if number % 3 else f"text {number}" for number in range(_ROWS)],
    })  # fmt: skip


def _parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(), sink, **options)
    return sink.getvalue()


def _count(form: Format) -> Callable[[bytes], object]:
    def take(data: bytes) -> object:
        with tempfile.NamedTemporaryFile(suffix=f".{form}") as file:
            file.write(data)
            file.flush()
            return count_object(_baseline(), LocalSource(Path(file.name)), form=form)

    return take


def _config(data: bytes) -> object:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        return load_config(Path(file.name))


def _sketch(data: bytes) -> object:
    """Read bytes as a sketch and as a baseline, as they are and with the checksum made right."""
    for framed in (data, pack(data)):
        with contextlib.suppress(SketchError):
            FrozenBaseline.from_bytes(framed)
    with contextlib.suppress(SketchError):
        decode_table(pack(data), _baseline().layout)
    return decode_table(data, _baseline().layout)


def _events() -> list[bytes]:
    item = {"key": "in/a+b%2Bc.parquet", "size": 10, "eTag": "e" * 32, "sequencer": "0055AED6DCD90281E5"}
    record = {
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventTime": "2026-03-01T00:00:00.000Z", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "bucket"}, "object": item},
    }  # fmt: skip
    direct = json.dumps({"Records": [record, record]})
    detail = {"bucket": {"name": "bucket"}, "object": {"key": "in/a", "size": 1, "etag": "e", "sequencer": "00"}, "reason": "PutObject"}
    bridge = {
        "version": "0",
        "id": "1",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": "2026-03-01T00:00:00Z",
        "detail": detail,
    }
    sns = {"Type": "Notification", "Message": direct, "TopicArn": "arn:aws:sns:us-east-1:000000000000:drops"}
    return [text.encode() for text in (direct, json.dumps(bridge), json.dumps(sns), '{"Event": "s3:TestEvent"}')]


def _csv() -> list[bytes]:
    text = "x,n,plan,note\n" + "".join(f'{row["x"]},{row["n"]},{row["plan"]},"{row["note"]}"\n' for row in _table().to_pylist())
    return [text.encode(), text.replace(",", ";").encode(), gzip.compress(text.encode()), zstandard.compress(text.encode())]


def _json() -> list[bytes]:
    lines = "".join(json.dumps(row) + "\n" for row in _table().to_pylist()).encode()
    return [lines, b'{"x": {"y": [1, null, "a"]}}\n' * 3 + lines[:500], gzip.compress(lines)]


def targets() -> dict[str, Target]:
    """Return all targets by name."""
    whole = [_parquet(), _parquet(write_page_checksum=True, row_group_size=50), _parquet(compression="zstd", data_page_version="2.0"),
             _parquet(compression="none", use_dictionary=False)]  # fmt: skip
    sketches = [encode_table(_baseline().empty_sketch()), _baseline().data]
    return {
        "parquet": Target(whole, _count("parquet")),
        "csv": Target(_csv(), _count("csv")),
        "json": Target(_json(), _count("jsonl")),
        "events": Target(_events(), lambda data: parse_notification(data.decode("utf-8", "replace"))),
        "sketches": Target([*sketches, *map(unpack, sketches)], _sketch),
        "config": Target([_CONFIG.encode()], _config),
    }
