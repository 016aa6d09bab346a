"""Apache DataSketches: a KLL sketch of doubles with k = 200 for each column, and its KS test."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers.harness import Measure, Order, reference, serve, window

_P = 0.001
_K = 200


def prepare(order: Order) -> Measure:
    """Sketch the reference."""
    datasketches = import_module("datasketches")

    def sketch(values: NDArray[np.float64]) -> Any:
        made = datasketches.kll_doubles_sketch(_K)
        made.update(np.require(values, requirements=["C", "W"]))  # not read-only, as pandas hands them out; it leaves NaN out itself
        return made

    fitted = {name: sketch(values) for name, values in reference(order).items()}
    read = window(order)

    def measure() -> dict[str, float]:
        for name, values in read().items():
            datasketches.ks_test(fitted[name], sketch(values), _P)
        return {}

    return measure


if __name__ == "__main__":
    serve(prepare, "datasketches", "numpy", "pandas")
