"""scipy's two-sample Kolmogorov-Smirnov test, column by column; missing values are left out."""

from __future__ import annotations

from bench.peers.harness import Measure, Order, present, reference, serve, window


def prepare(order: Order) -> Measure:
    """Keep the reference sorted, without missing values."""
    import numpy as np
    from scipy.stats import ks_2samp

    fitted = {name: np.sort(present(values)) for name, values in reference(order).items()}
    read = window(order)
    return lambda: {name: float(ks_2samp(fitted[name], present(values)).statistic) for name, values in read().items()}


if __name__ == "__main__":
    serve(prepare, "scipy", "numpy", "pandas")
