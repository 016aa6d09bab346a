"""Drops into label-first CSVs (train, validation, holdout) and a score file without label.

Reads the manifest that the retrainer wrote, streams each pinned drop, and splits rows by a hash of (object version, row
number): the same rows are held out on every attempt, and held-out rows never train.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.aws.session import aws_client
from driftsonde.core.events import DropRef
from driftsonde.core.readers import StoreSource, open_table
from driftsonde.retrainer.steps.container import inputs, outputs, run_step
from driftsonde.retrainer.steps.encoding import Encoding, as_floats

HOLDOUT, VALIDATION = 0.2, 0.1
"""Shares of the labelled rows."""


def prepare() -> None:
    """Run the step."""
    manifest = json.loads((inputs("manifest") / "job.json").read_text())
    with _Drops(manifest) as drops:
        encoding = _encoding(manifest, drops)
        counts = _write_splits(manifest, drops, encoding)
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

    def batches(self, drop: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        ref = DropRef.model_validate(drop)
        info = self._run(self._objects.head(ref.bucket, ref.key, version=ref.version))
        source = StoreSource(self._objects, self._loop, ref.bucket, ref.key, info.size, version=ref.version, etag=ref.etag)
        return open_table(source, text=self._manifest["categorical"], form=self._manifest["format"]).batches()


def _encoding(manifest: dict[str, Any], drops: _Drops) -> Encoding:
    known = manifest["encoding"]
    encoding = Encoding.load(known) if known else None
    for drop in [*manifest["drops"], *manifest["score"]]:
        for batch in drops.batches(drop):
            if encoding is None:
                skip = {manifest["label"], *manifest["ignore"]}
                wanted = set(manifest["only"]) or set(batch.schema.names)
                skip |= set(batch.schema.names) - wanted
                encoding = Encoding.infer(batch.schema, skip=skip, categorical=manifest["categorical"])
            encoding.grow(batch)
    if encoding is None or not encoding.features:
        raise ValueError("the drops have no column to learn from")
    return encoding


def _write_splits(manifest: dict[str, Any], drops: _Drops, encoding: Encoding) -> dict[str, int]:
    counts = {"train": 0, "validation": 0, "holdout": 0, "score": 0, "unlabelled": 0}
    files = {name: (outputs(name) / f"{name}.csv").open("w") for name in ("train", "validation", "holdout", "score")}
    scored = {json.dumps(drop, sort_keys=True) for drop in manifest["score"]}
    try:
        for drop in manifest["drops"]:
            offset = 0
            for batch in drops.batches(drop):
                features = encoding.matrix(batch)
                label = _labels(batch, manifest["label"])
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
                if json.dumps(drop, sort_keys=True) in scored:
                    counts["score"] += _write(files["score"], features)
    finally:
        for file in files.values():
            file.close()
    return counts


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


def _write(file: IO[str], rows: NDArray[np.float64]) -> int:
    """Write rows as CSV without header; empty where there is nothing, as SageMaker's XGBoost reads missing values."""
    for row in rows:
        file.write(",".join("" if math.isnan(value) else f"{value:.9g}" for value in row.tolist()) + "\n")
    return len(rows)


if __name__ == "__main__":
    run_step(prepare)
