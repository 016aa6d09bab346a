"""NannyML's univariate drift calculator with its Kolmogorov-Smirnov method; the window is one chunk."""

from __future__ import annotations

from importlib import import_module

from bench.peers.harness import Measure, Order, frame, reference, serve, window_frame

_METHOD = "kolmogorov_smirnov"


def prepare(order: Order) -> Measure:
    """Fit the calculator."""
    nannyml = import_module("nannyml")
    fitted = frame(reference(order))
    names = list(fitted.columns)
    calculator = nannyml.UnivariateDriftCalculator(column_names=names, continuous_methods=[_METHOD], chunk_number=1)
    calculator.fit(fitted)
    read = window_frame(order)

    def measure() -> dict[str, float]:
        found = calculator.calculate(read()).to_df()
        return {name: float(found[(name, _METHOD, "value")].iloc[-1]) for name in names}

    return measure


if __name__ == "__main__":
    serve(prepare, "nannyml", "numpy", "pandas")
