"""driftsonde itself, by its public API."""

from __future__ import annotations

from bench.peers.harness import Columns, Measure, Order, load, reference, serve


def prepare(order: Order) -> Measure:
    """Build the baseline; measure counting and judging."""
    import pyarrow as pa

    from driftsonde.core.api import Baseline, Sketch, Verdict, judge
    from driftsonde.core.counting import count_object
    from driftsonde.core.readers import LocalSource

    def batches(columns: Columns) -> list[pa.RecordBatch]:
        arrays = [pa.array(values, from_pandas=True) for values in columns.values()]
        made: list[pa.RecordBatch] = pa.table(arrays, names=list(columns)).to_batches(max_chunksize=100_000)
        return made

    def count() -> Sketch:
        sketch = baseline.sketch()
        for batch in given:
            sketch.update(batch)
        return sketch

    def distances(verdict: Verdict) -> dict[str, float]:
        return {column.name: check.score for column in verdict.columns for check in column.checks if check.name == "ks"}

    baseline = Baseline.build(batches(reference(order)))
    if order.form == "memory":
        given = batches(load(order, "window", order.rows))
        return lambda: distances(judge(baseline, count()))
    return lambda: distances(judge(baseline, Sketch(baseline, count_object(baseline, LocalSource(order.path)))))


if __name__ == "__main__":
    serve(prepare, "driftsonde-core", "numpy", "pyarrow")
