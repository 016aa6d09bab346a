"""Drops into label-first CSVs (train, validation, holdout) and a score file without label.

Reads the manifest that the retrainer wrote, streams each pinned drop, and splits rows by a hash of (object version, row
number): the same rows are held out on every attempt, and held-out rows never train.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import json
import math
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.aws.session import aws_client
from driftsonde.core.columns import level_name
from driftsonde.core.events import DropRef
from driftsonde.core.readers import Format, StoreSource, open_table
from driftsonde.retrainer.steps.container import inputs, outputs, run_step
from driftsonde.retrainer.steps.encoding import Encoding, as_floats

HOLDOUT, VALIDATION = 0.2, 0.1
"""Shares of the labelled rows."""


def prepare() -> None:
    """Run the step."""
    manifest = json.loads((inputs("manifest") / "job.json").read_text())
    with _Drops(manifest) as drops:
        labels = _late_labels(manifest, drops) if manifest.get("labels") else None
        encoding = _encoding(manifest, drops)
        counts = _write_splits(manifest, drops, encoding, labels)
    (outputs("meta") / "encoding.json").write_text(json.dumps(encoding.dump(), sort_keys=True))
    (outputs("meta") / "summary.json").write_text(json.dumps(counts))
    print(json.dumps(counts))


class _Drops:
    """Opens pinned drops; the S3 client lives on an event loop in a thread of its own."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self._manifest = manifest
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._context: Any = None

    def __enter__(self) -> _Drops:
        self._thread.start()
        self._context = aws_client("s3")
        self._objects = S3Objects(self._run(self._context.__aenter__()), owners=self._manifest.get("owners"))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._context.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def batches(self, drop: dict[str, Any], *, form: Format | None = None) -> Iterator[pa.RecordBatch]:
        ref = DropRef.model_validate(drop)
        info = self._run(self._objects.head(ref.bucket, ref.key, version=ref.version))
        source = StoreSource(self._objects, self._loop, ref.bucket, ref.key, info.size, version=ref.version, etag=ref.etag)
        return open_table(source, text=self._manifest["categorical"], form=form or self._manifest["format"]).batches()


def _encoding(manifest: dict[str, Any], drops: _Drops) -> Encoding:
    known = manifest["encoding"]
    encoding = Encoding.load(known) if known else None
    for drop in [*_training(manifest), *manifest["score"]]:
        for batch in drops.batches(drop):
            if encoding is None:
                skip = {manifest["label"], *manifest["ignore"], *_keys(manifest)}
                wanted = set(manifest["only"]) or set(batch.schema.names)
                skip |= set(batch.schema.names) - wanted
                encoding = Encoding.infer(batch.schema, skip=skip, categorical=manifest["categorical"])
            encoding.grow(batch)
    if encoding is None or not encoding.features:
        raise ValueError("the drops have no column to learn from")
    return encoding


def _training(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [*manifest.get("reference", []), *manifest["drops"]]


def _keys(manifest: dict[str, Any]) -> list[str]:
    """Return the column by which labels are joined: an identifier is nothing to learn from."""
    return [manifest["labels"]["key"]] if manifest.get("labels") else []


def _late_labels(manifest: dict[str, Any], drops: _Drops) -> dict[str, float]:
    """Return the label of each key; of a key that is there twice, the one in the later object."""
    source, found = manifest["labels"], dict[str, float]()
    for ref in source["objects"]:
        for batch in drops.batches(ref, form=source["format"]):
            if not {source["key"], manifest["label"]} <= set(batch.schema.names):
                raise ValueError(f"s3://{ref['bucket']}/{ref['key']} lacks the column {source['key']!r} or {manifest['label']!r}")
            values = as_floats(batch.column(manifest["label"])).tolist()
            found.update(
                (key, value) for key, value in zip(_texts(batch, source["key"]), values, strict=True) if key and math.isfinite(value)
            )
    return found


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    """Return a column as text, empty where there is nothing."""
    if name not in batch.schema.names:
        return [""] * batch.num_rows
    return ["" if value is None else level_name(value) for value in batch.column(name).to_pylist()]


def _write_splits(manifest: dict[str, Any], drops: _Drops, encoding: Encoding, late: dict[str, float] | None) -> dict[str, int]:
    counts = {"train": 0, "validation": 0, "holdout": 0, "score": 0, "unlabelled": 0}
    with contextlib.ExitStack() as stack:
        files = {
            name: stack.enter_context((outputs(name) / f"{name}.csv").open("w", newline="")) for name in counts if name != "unlabelled"
        }
        for drop in _training(manifest):
            offset = 0
            for batch in drops.batches(drop):
                features = encoding.matrix(batch)
                label = _labels(batch, manifest["label"]) if late is None else _joined(batch, manifest["labels"]["key"], late)
                draw = _draw(drop, offset, batch.num_rows)
                offset += batch.num_rows
                labelled = np.isfinite(label)
                counts["unlabelled"] += int((~labelled).sum())
                parts = {
                    "holdout": labelled & (draw < HOLDOUT),
                    "validation": labelled & (draw >= HOLDOUT) & (draw < HOLDOUT + VALIDATION),
                    "train": labelled & (draw >= HOLDOUT + VALIDATION),
                }
                for name, rows in parts.items():
                    counts[name] += _write(files[name], np.column_stack([label[rows], features[rows]]))
        for drop in manifest["score"]:
            for batch in drops.batches(drop):
                kept = [_texts(batch, name) for name in manifest.get("keep", [])]
                counts["score"] += _write(files["score"], encoding.matrix(batch), kept)
    return counts


def _joined(batch: pa.RecordBatch, key: str, late: dict[str, float]) -> NDArray[np.float64]:
    return np.array([late.get(text, math.nan) for text in _texts(batch, key)])


def _labels(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    return as_floats(batch.column(name))


def _draw(drop: dict[str, Any], offset: int, rows: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each row, which depends on the object version and the row's number alone."""
    identity = f"{drop['bucket']}/{drop['key']}/{drop.get('version') or drop.get('etag')}"
    seed = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "little")
    # Philox counts: the stream can be entered anywhere. One step of the counter gives four doubles.
    stream = np.random.Philox(key=seed).advance(offset // 4)
    return np.random.Generator(stream).random(offset % 4 + rows)[offset % 4 :]


def _write(file: IO[str], rows: NDArray[np.float64], kept: Sequence[Sequence[str]] = ()) -> int:
    """Write rows as CSV without header; empty where there is nothing, as SageMaker's XGBoost reads missing values.

    Args:
        kept: columns of text that stand in front.
    """
    out = csv.writer(file, lineterminator="\n")
    for place, row in enumerate(rows):
        figures = ["" if math.isnan(value) else f"{value:.9g}" for value in row.tolist()]
        out.writerow([*(column[place] for column in kept), *figures])
    return len(rows)


if __name__ == "__main__":
    run_step(prepare)
