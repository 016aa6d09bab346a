"""Frouros' KSTest, column by column; missing values are left out, as it takes none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers.harness import Measure, Order, present, reference, serve, window


def prepare(order: Order) -> Measure:
    """Fit a detector for each column."""
    detectors = import_module("frouros.detectors.data_drift")

    def fit(values: NDArray[np.float64]) -> Any:
        detector = detectors.KSTest()
        detector.fit(X=present(values))
        return detector

    fitted = {name: fit(values) for name, values in reference(order).items()}
    read = window(order)
    return lambda: {name: float(fitted[name].compare(X=present(values))[0].statistic) for name, values in read().items()}


if __name__ == "__main__":
    serve(prepare, "frouros", "numpy")
