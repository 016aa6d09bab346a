"""`driftsonde init` and `driftsonde config check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftsonde.core.config import load_config
from driftsonde.core.errors import DriftsondeError

EXAMPLE = """# driftsonde.yaml: what is watched, how it is judged, what happens then.
# Only name, drops and baseline have no default. Check it with: driftsonde config check
monitors:
  - name: churn                                   # lower-case letters, digits, hyphens
    drops: s3://acme-ml/churn/incoming/           # prefix or glob of the objects to watch
    baseline: s3://acme-ml/churn/train/2026-10/   # accepted data; built once, frozen, versioned
    # baseline: {uri: s3://acme-ml/churn/train/2026-10/, backtest: "event_time:1d"}   # calibrates thresholds
    # baseline: {learn: 30}                       # no such data: the first 30 drops are what is normal
    # format: auto                                # parquet | csv | jsonl, plus .gz and .zst
    # columns: {ignore: [customer_id], categorical: [zip], label: churned}
    # window: {by: object}                        # or {by: rows, size: 100000} or {by: time, column: ts, size: 1d, lateness: 6h}
    # policy: {alpha: 0.001, lookback: 32, thresholds: {distance: 0.10, psi: 0.20}}
    # retrain: {recipe: churn-xgb, cooldown: 24h, max_per_day: 1}
    # retrain: {recipe: churn-xgb, approval: ask, confirm: {windows: 2, of: 3}, quiet: {from: "22:00", to: "06:00", tz: Europe/Berlin}}
    # notify: [ml-oncall]

# recipes:
#   churn-xgb:
#     role: arn:aws:iam::123456789012:role/driftsonde-jobs
#     output: s3://acme-ml/driftsonde/
#     training: {hyperparameters: {objective: "binary:logistic", num_round: "200"}}
#     gate: {metric: auc, direction: max, margin: 0.0, confidence: 0.95}
#     # deploy: {strategy: canary, endpoint: churn-live, alarms: [churn-5xx]}   # or single, shadow, linear, bandit; default: batch only
#     # champion: {model: s3://…/model.tar.gz, encoding: s3://…/encoding.json}
#   churn-own:                                    # start what you have instead of jobs
#     output: s3://acme-ml/driftsonde/
#     run: {pipeline: churn-train, parameters: {Manifest: "{manifest}", Episode: "{episode}"}, timeout: 6h}
#     # run: {state_machine: "arn:aws:states:eu-west-1:123456789012:stateMachine:retrain", timeout: 6h}

# channels:
#   ml-oncall: {type: slack, webhook_file: /run/secrets/slack}   # the file holds the URL
#   # type: sns | webhook | pagerduty | email; each may have severity, events, quiet, remind

# budget: {training_jobs_per_day: 10}             # over all monitors
# budget: {prices: {ml.m5.large: 0.115}, spend_per_month: 500}   # your region's prices of an hour
# bucket_owners: {acme-ml: "111122223333"}        # account that must own a bucket
"""


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("driftsonde.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration file to start from."""
    if path.exists() and not force:
        raise DriftsondeError(f"{path} exists; --force replaces it")
    try:
        path.write_text(EXAMPLE)
    except OSError as exc:
        raise DriftsondeError(f"cannot write {path}: {exc.strerror}") from exc
    typer.echo(f"wrote {path}; edit drops and baseline, then: driftsonde config check {path}")


def check(path: Annotated[Path, typer.Argument(help="The file to check.")] = Path("driftsonde.yaml")) -> None:
    """Check a configuration file; each mistake names its key, the value and what would be right. Exit 78 if there is one."""
    config = load_config(path)
    for monitor in config.monitors:
        action = f"retrains with {monitor.retrain.recipe}" if monitor.retrain else "does not retrain"
        told = ", ".join(monitor.notify) or "nobody"
        typer.echo(f"{monitor.name}: watches {monitor.drops} by {monitor.window.by}, {action}, tells {told}")
    typer.echo(f"{path} is right.")
