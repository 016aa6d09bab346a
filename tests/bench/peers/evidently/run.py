"""Evidently's data drift preset with KS for numbers. It also draws plots and repeats tests."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bench.peers.harness import Measure, Order, frame, reference, serve, window_frame


def prepare(order: Order) -> Measure:
    """Describe the data."""
    evidently = import_module("evidently")
    preset = import_module("evidently.presets").DataDriftPreset
    fitted = frame(reference(order))
    definition = evidently.DataDefinition(numerical_columns=list(fitted.columns))

    def dataset(of: Any) -> Any:
        return evidently.Dataset.from_pandas(of, data_definition=definition)

    known, read = dataset(fitted), window_frame(order)

    def measure() -> dict[str, float]:
        evidently.Report([preset(num_method="ks")]).run(dataset(read()), known).dict()
        return {}  # it gives p-values

    return measure


if __name__ == "__main__":
    serve(prepare, "evidently", "numpy", "pandas")
