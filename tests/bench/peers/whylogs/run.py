"""whylogs: the window's profile, and the KS test of two profiles."""

from __future__ import annotations

from importlib import import_module

from bench.peers.harness import Measure, Order, frame, reference, serve, window_frame


def prepare(order: Order) -> Measure:
    """Profile the reference."""
    whylogs = import_module("whylogs")
    drift = import_module("whylogs.viz.drift.column_drift_algorithms")
    fitted = frame(reference(order))
    tests = {name: drift.KS() for name in fitted.columns}
    profile = whylogs.log(fitted).view()
    read = window_frame(order)

    def measure() -> dict[str, float]:
        scores = drift.calculate_drift_scores(target_view=whylogs.log(read()).view(), reference_view=profile, drift_map=tests)
        return {name: float(score["statistic"]) for name, score in scores.items()}

    return measure


if __name__ == "__main__":
    serve(prepare, "whylogs", "numpy", "pandas")
