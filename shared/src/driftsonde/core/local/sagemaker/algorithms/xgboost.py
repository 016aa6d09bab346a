"""SageMaker's built-in XGBoost, as far as tables in CSV go: `... train` and `... serve`.

Training reads the channels `train` and, optionally, `validation`: every file is CSV without a header, label first.
Settings come as strings in `hyperparameters.json`. The model is `xgboost-model`. Serving answers `/ping` and `/invocations`.
"""

from __future__ import annotations

import json
import os
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Final

MODEL: Final = "xgboost-model"

PARAMETERS: Final = frozenset({
    "alpha", "base_score", "booster", "colsample_bylevel", "colsample_bynode", "colsample_bytree", "eta", "gamma", "grow_policy",
    "lambda", "learning_rate", "max_bin", "max_delta_step", "max_depth", "max_leaves", "min_child_weight", "min_split_loss",
    "monotone_constraints", "num_class", "num_parallel_tree", "objective", "reg_alpha", "reg_lambda", "sampling_method",
    "scale_pos_weight", "seed", "subsample", "tree_method", "tweedie_variance_power", "verbosity",
})  # fmt: skip
"""Hyperparameters that go to the library as they are."""

CONTROLS: Final = frozenset({"early_stopping_rounds", "eval_metric", "num_round"})
"""Hyperparameters that steer the training loop."""


class UserError(Exception):
    """The request or its data is wrong; the text becomes the failure file or the HTTP answer."""


def base() -> Path:
    """Return the `opt/ml` directory."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def library() -> Any:
    """Return the library, imported on first use: what imports this module need not have it."""
    # Its scikit-learn interface is not used here, and importing scikit-learn takes longer than most of these jobs.
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # None is the documented way to forbid an import
    import xgboost

    return xgboost


def parse_csv(content: bytes) -> Any:
    """Return the rows of a CSV without header as a float array; an empty field is a missing value.

    Raises:
        UserError: if a field is not a number or rows differ in length.
    """
    import numpy as np

    try:
        try:
            return np.loadtxt(BytesIO(content), delimiter=",", ndmin=2)
        except ValueError:  # slower, but it knows missing values
            return np.loadtxt(
                BytesIO(content), delimiter=",", ndmin=2, encoding="utf-8",
                converters=lambda field: float(field) if field.strip() else float("nan"),
            )  # fmt: skip
    except ValueError as exc:
        raise UserError(f"not a CSV of numbers without a header: {exc}") from exc


def read_channel(name: str) -> Any:
    """Return a channel as a DMatrix, or None when there is none.

    Raises:
        UserError: if it has no label and feature columns.
    """
    import numpy as np

    xgboost = library()

    directory = base() / "input" / "data" / name
    files = sorted(path for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else []
    if not files:
        return None
    tables = [parse_csv(path.read_bytes()) for path in files]
    widths = {table.shape[1] for table in tables}
    if len(widths) > 1 or min(widths) < 2:
        raise UserError(f"channel {name}: every file needs the label first and the same features; found {sorted(widths)} columns")
    rows = np.concatenate(tables)
    return xgboost.DMatrix(rows[:, 1:], label=rows[:, 0], nthread=threads())


def threads() -> int:
    """Return how many threads to use."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def check(settings: dict[str, str]) -> int:
    """Check the hyperparameters; return the number of rounds.

    Raises:
        UserError: naming what is wrong and what is allowed.
    """
    unknown = sorted(settings.keys() - PARAMETERS - CONTROLS)
    if unknown:
        raise UserError(f"unknown hyperparameter {', '.join(unknown)}; allowed are {', '.join(sorted(PARAMETERS | CONTROLS))}")
    for name in ("num_round", "early_stopping_rounds"):
        if name in settings and not (settings[name].isdecimal() and int(settings[name]) > 0):
            raise UserError(f"hyperparameter {name} must be a positive whole number, is {settings[name]!r}")
    if "num_round" not in settings:
        raise UserError("hyperparameter num_round is required")
    return int(settings["num_round"])


def train() -> None:
    """Train on the channels and save the model.

    Raises:
        UserError: if hyperparameters or data are wrong.
    """
    xgboost = library()

    settings: dict[str, str] = json.loads((base() / "input" / "config" / "hyperparameters.json").read_text())
    rounds = check(settings)
    table, validation = read_channel("train"), read_channel("validation")
    if table is None:
        raise UserError("channel train is required and has no files")
    evals = [(table, "train")] + ([(validation, "validation")] if validation is not None else [])
    patience = int(settings["early_stopping_rounds"]) if "early_stopping_rounds" in settings else None
    if patience and validation is None:
        raise UserError("early_stopping_rounds needs a validation channel")
    parameters: dict[str, Any] = {key: value for key, value in settings.items() if key in PARAMETERS}
    parameters |= {"nthread": threads(), "seed": settings.get("seed", "0")}
    if "eval_metric" in settings:
        parameters["eval_metric"] = [metric.strip() for metric in settings["eval_metric"].split(",")]
    # The container's lines, as CloudWatch shows them: metric definitions look for the #011.
    monitor = xgboost.callback.EvaluationMonitor(logger=lambda line: print(line.strip().replace("\t", "#011"), flush=True))
    try:
        model = xgboost.train(
            parameters, table, rounds, evals=evals, early_stopping_rounds=patience, verbose_eval=False, callbacks=[monitor]
        )
    except (xgboost.core.XGBoostError, ValueError) as exc:
        raise UserError(f"XGBoost refused: {str(exc).partition('Stack trace')[0].strip()}") from exc
    if patience:
        model = model[: model.best_iteration + 1]
    directory = Path(os.environ.get("SM_MODEL_DIR", base() / "model"))
    (directory / MODEL).write_bytes(model.save_raw("ubj"))


def predict(model: Any, content: bytes) -> bytes:
    """Return one line per row: the prediction, or one per class with commas between.

    Raises:
        UserError: if the rows do not fit the model.
    """
    xgboost = library()

    if not content.strip():
        return b""
    rows = parse_csv(content)
    if rows.shape[1] != model.num_features():
        raise UserError(f"rows have {rows.shape[1]} columns and the model takes {model.num_features()} features, without a label")
    values = model.predict(xgboost.DMatrix(rows, nthread=threads()))
    lines = (",".join(map(repr, row)) for row in values.reshape(len(rows), -1).tolist())
    return ("\n".join(lines) + "\n").encode()


class Handler(BaseHTTPRequestHandler):
    """The two paths of a serving container. `model` is set before the server starts."""

    protocol_version = "HTTP/1.1"
    model: Any = None

    def do_GET(self) -> None:
        """Answer `/ping`."""
        self._send(HTTPStatus.OK if self.path == "/ping" else HTTPStatus.NOT_FOUND, b"")

    def do_POST(self) -> None:
        """Answer `/invocations`."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        if self.path != "/invocations":
            self._send(HTTPStatus.NOT_FOUND, b"")
        elif kind != "text/csv":
            self._send(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be text/csv, is {kind!r}\n".encode())
        else:
            try:
                self._send(HTTPStatus.OK, predict(self.model, content))
            except UserError as exc:
                self._send(HTTPStatus.BAD_REQUEST, f"{exc}\n".encode())

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the runner counts requests."""


def serve() -> None:
    """Serve the model until ended.

    Raises:
        UserError: if there is no readable model.
    """
    xgboost = library()

    path = Path(os.environ.get("SM_MODEL_DIR", base() / "model")) / MODEL
    try:
        Handler.model = xgboost.Booster(model_file=bytearray(path.read_bytes()), params={"nthread": threads()})
    except (OSError, xgboost.core.XGBoostError) as exc:
        raise UserError(f"the model's archive has no readable {MODEL}: {exc}") from exc
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()


def main(argv: list[str]) -> int:
    """Run `train` or `serve`; return the exit code."""
    commands = {"train": train, "serve": serve}
    if len(argv) != 1 or argv[0] not in commands:
        print("usage: python -m driftsonde.core.local.sagemaker.algorithms.xgboost train|serve", file=sys.stderr)
        return 2
    try:
        commands[argv[0]]()
    except UserError as exc:
        (base() / "output" / "failure").write_text(str(exc))
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
