"""Alibi Detect's KSDrift. It takes no missing values, so each column has a detector of its own and they are left out."""

from __future__ import annotations

from importlib import import_module

from bench.peers.harness import Measure, Order, present, reference, serve, window


def prepare(order: Order) -> Measure:
    """Fit a detector for each column."""
    detector = import_module("alibi_detect.cd").KSDrift
    fitted = {name: detector(present(values)[:, None]) for name, values in reference(order).items()}
    read = window(order)

    def measure() -> dict[str, float]:
        found = {name: fitted[name].predict(present(values)[:, None]) for name, values in read().items()}
        return {name: float(result["data"]["distance"][0]) for name, result in found.items()}

    return measure


if __name__ == "__main__":
    serve(prepare, "alibi-detect", "numpy")
