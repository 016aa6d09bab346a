"""`driftsonde demo`: the whole loop on real data, in two minutes, without a cloud."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from driftsonde.core.cli.status import fetch
from driftsonde.core.errors import DriftsondeError

if TYPE_CHECKING:
    from driftsonde.core.local.attached import Attached, AttachedSlack
    from driftsonde.core.local.demo.flights import Day
    from driftsonde.core.local.demo.receiver import SlackReceiver
    from driftsonde.core.local.demo.screen import Screen
    from driftsonde.core.local.stack import Places, Stack

BUCKET = "driftsonde-demo"
JANUARY = "baseline/2013-01.parquet"
MONITOR = "flights"
_VERDICT_SECONDS = 30.0
_PLAN_SECONDS = 90.0
_ENDINGS = ("plan.refused", "model.held", "batch.finished", "training.failed")


def demo(
    root: Annotated[Path | None, typer.Option(help="Folder for state and logs; default: a new temporary one, which is kept.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
    attach: Annotated[bool, typer.Option("--attach", help="Play it through what `docker compose up` runs on this machine.")] = False,
) -> None:
    """Show a drop become a verdict, a retrained model, fresh predictions and a message, on the New York flights of 2013.

    Exit code 0 when all of it was seen, 1 when something was missing.
    """
    from driftsonde.core.local.attached import Attached, AttachedSlack
    from driftsonde.core.local.demo.receiver import SlackReceiver
    from driftsonde.core.local.demo.screen import Screen

    folder = root.resolve() if root else Path(tempfile.mkdtemp(prefix="driftsonde-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    screen = Screen()
    screen.title()
    if attach:
        places = Attached()
        story = _Story(folder, screen, AttachedSlack(places))
        story.attach(places)
    else:
        with SlackReceiver() as slack:
            story = _Story(folder, screen, slack)
            story.run(slack.url, keep=keep)
    missing = story.missing()
    if missing:
        where = "`docker compose logs` tells more" if attach else f"logs are in {folder / 'logs'}"
        raise DriftsondeError(f"the demo did not show {', '.join(missing)}; {where}")


class _Story:
    """The demo from beginning to end."""

    def __init__(self, folder: Path, screen: Screen, slack: SlackReceiver | AttachedSlack) -> None:
        self._folder, self._screen, self._slack = folder, screen, slack
        self._events: list[dict[str, Any]] = []
        self._told = 0
        self._champion_auc = 0.0
        self._config = "deploy/compose/driftsonde.yaml"
        self._prometheus = ""

    def run(self, webhook: str, *, keep: bool) -> None:
        """Start everything, play the story, and stop everything."""
        from driftsonde.core.local.stack import STANDARD_PORTS, Stack

        config = self._folder / "driftsonde.yaml"
        self._config = str(config)
        days, trained = self._read()
        with self._screen.step("start emulated AWS, local SageMaker and the bus"):
            stack = Stack(self._folder, config, preferred_ports=STANDARD_PORTS).__enter__()
        try:
            with stack.aws():
                self._prepare(stack, trained)
                self._start(stack, config, webhook)
                if keep:
                    self._watch(stack)
                self._freeze(stack)
                self._feed(stack, days, trained)
                self._close(stack)
            if keep:
                self._stay(stack)
        finally:
            stack.stop()

    def attach(self, places: Attached) -> None:
        """Play the story through what runs already."""
        days, trained = self._read()
        with places.aws():
            if fetch(places.service_url("detector"), f"/api/monitors/{MONITOR}/windows"):
                raise DriftsondeError(
                    "it has played here already; begin anew with `docker compose down --volumes`, then `up --build --wait`"
                )
            self._prepare(places, trained)
            self._freeze(places)
            self._feed(places, days, trained)
            self._close(places)

    def missing(self) -> list[str]:
        """Return what a demo must show and this one did not."""
        seen = {event["type"].removeprefix("driftsonde.v1.") for event in self._events}
        wanted = {
            "a quiet drop": any(row.verdict == "ok" for row in self._screen.rows),
            "a drift episode": "drift.detected" in seen,
            "a finished training job": "training.succeeded" in seen,
            "predictions": any(e["data"].get("state") == "succeeded" for e in self._events if e["type"].endswith("batch.finished")),
            "a message": bool(self._slack.messages),
        }
        return [what for what, there in wanted.items() if not there]

    def _read(self) -> tuple[list[Day], list[Day]]:
        """Return all days, and those that the first model is trained on."""
        from driftsonde.core.local.demo.flights import TRAINED_UNTIL, load_days

        with self._screen.step("read the flights of January to March"):
            days = load_days()
        return days, [day for day in days if day.day <= TRAINED_UNTIL]

    def _prepare(self, stack: Places, trained: list[Day]) -> None:
        from driftsonde.core.local.demo.champion import train_champion
        from driftsonde.core.local.demo.flights import LABEL

        with self._screen.step(f"upload January: {sum(day.table.num_rows for day in trained):,} flights"):
            keys = asyncio.run(self._upload(stack, trained))
        with self._screen.step("train the first model on January, as a SageMaker training job"):
            self._champion_auc = asyncio.run(train_champion(BUCKET, keys, LABEL, ["date"]))

    def _start(self, stack: Stack, config: Path, webhook: str) -> None:
        from driftsonde.core.local.stack import SERVICES

        path = self._folder / "slack-webhook"
        path.write_text(webhook)
        config.write_text(yaml.safe_dump(demo_config(path), sort_keys=False))
        with self._screen.step("start detector, retrainer and notifier"):
            for name in SERVICES:
                stack.launch_service(name)
            for name in SERVICES:
                stack.wait_ready(name)

    def _freeze(self, stack: Places) -> None:
        with self._screen.step("freeze January as the baseline, thresholds back-tested on its 31 days"):
            self._until(stack, lambda: self._monitor(stack)["baseline"] is not None, "the baseline")
            self._until(stack, lambda: self._heard(stack, "baseline.adopted"), "the news of the baseline")

    async def _upload(self, stack: Places, days: list[Day]) -> list[str]:
        """Store the days to train on, and all of them as the one object of the baseline; returns the keys of the days.

        One object: a detector that runs already must not see half of a month and freeze that.
        """
        import pyarrow as pa

        from driftsonde.core.aws.session import aws_client
        from driftsonde.core.local.buckets import watch_buckets
        from driftsonde.core.local.demo.flights import as_parquet

        await watch_buckets([BUCKET], stack.queue_arn)
        bodies = {f"train/{day.day}.parquet": day.parquet() for day in days}
        january = as_parquet(pa.concat_tables([day.table for day in days]))
        async with aws_client("s3") as s3:
            await asyncio.gather(*(s3.put_object(Bucket=BUCKET, Key=key, Body=body) for key, body in {**bodies, JANUARY: january}.items()))
        return list(bodies)

    def _feed(self, stack: Places, days: list[Day], trained: list[Day]) -> None:
        import pyarrow as pa

        from driftsonde.core.local.demo.flights import COLUMNS
        from driftsonde.core.local.demo.screen import Row
        from driftsonde.core.local.demo.seedrule import SeedRule

        self._screen.console.print("\n[bold]February and March, one drop a day[/bold]")
        seed_rule = SeedRule(pa.concat_tables([day.table for day in trained]).select(list(COLUMNS)))
        for day in days[len(trained) :]:
            began = time.monotonic()
            key = f"incoming/{day.day}.parquet"
            asyncio.run(self._put(key, day.parquet()))
            window = self._verdict(stack, f"s3://{BUCKET}/{key}")
            seconds = time.monotonic() - began
            fires = seed_rule.fires(day.table)
            self._screen.drop(Row(day.day, day.table.num_rows, window["verdict"], seconds, window["summary"], fires))
            self._tell(stack)
            self._finish_plan(stack)

    async def _put(self, key: str, body: bytes) -> None:
        from driftsonde.core.aws.session import aws_client

        async with aws_client("s3") as s3:
            await s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def _verdict(self, stack: Places, window: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def judged() -> bool:
            windows = fetch(stack.service_url("detector"), f"/api/monitors/{MONITOR}/windows")
            found[:] = [item for item in windows if item["id"] == window and item["verdict"]]
            return bool(found)

        self._until(stack, judged, f"a verdict on {window}", _VERDICT_SECONDS)
        return found[0]

    def _heard(self, stack: Places, kind: str) -> bool:
        self._tell(stack)
        return any(event["type"].endswith(kind) for event in self._events)

    def _finish_plan(self, stack: Places) -> None:
        """While a model is being retrained the feed pauses, so that the story stays in order on the screen."""
        opened = {e["data"]["episode"] for e in self._events if e["type"].endswith("drift.detected")}

        def answered() -> bool:
            self._tell(stack)
            ended = {e["data"]["episode"] for e in self._events if e["type"].endswith(_ENDINGS)}
            promoted = [e for e in self._events if e["type"].endswith("model.promoted")]
            adopted = [e for e in self._events if e["type"].endswith("baseline.adopted")]
            return opened <= ended and len(adopted) > len(promoted)

        self._until(stack, answered, "an answer to the episode", _PLAN_SECONDS)

    def _tell(self, stack: Places) -> None:
        """Show what is new on the bus, and in Slack."""
        after = self._events[-1]["seq"] if self._events else 0
        news = fetch(stack.service_url("detector"), f"/api/timeline?monitor={MONITOR}&after={after}")
        self._events += news
        for event in news:
            self._screen.news(event)
        for message in self._slack.messages[self._told :]:
            self._screen.slack(message)
            self._told += 1

    def _close(self, stack: Places) -> None:
        self._until(stack, lambda: self._told > 0 or bool(self._slack.messages), "the message")
        self._tell(stack)
        self._screen.console.print()
        self._screen.table()
        scores = [(e, e["data"]["scores"]) for e in self._events if e["type"].endswith(("model.promoted", "model.held"))]
        pairs = [("January's model", f"validation auc {self._champion_auc:.4f} when it was trained")]
        for event, score in scores:
            what = "promoted" if event["type"].endswith("promoted") else "held"
            change = f"auc {score['champion']:.4f} → {score['challenger']:.4f} on {score['rows']:,} fresh held-out flights"
            pairs.append((f"episode {event['data']['episode']}: {what}", change))
        self._screen.facts("The model, before and after", pairs)
        episodes = sorted({event["data"]["episode"] for event, _ in scores})
        saved = asyncio.run(self._save())
        self._screen.facts("What was decided, and why", self._decisions())
        self._screen.facts("Where everything lies", [
            ("configuration", self._config),
            ("logs", stack.logs.removeprefix("logs are in ")),
            *((f"episode {number}", f"{saved}/{MONITOR}/episode-{number}/  (manifest, data, model, metrics, predictions)") for number in episodes),
            ("Slack messages", f"{len(self._slack.messages)} shown above"),
            *((f"report {number}", str(path)) for number, path in self._reports(stack)),
        ])  # fmt: skip
        self._screen.facts("Try next", [
            ("your own files", "driftsonde check --baseline ref.parquet current.parquet"),
            ("your own bucket", "driftsonde init && driftsonde config check && driftsonde up"),
            ("this demo, left running", "make demo KEEP=1"),
        ])  # fmt: skip

    def _decisions(self) -> list[tuple[str, str]]:
        """Return the decision record that holds of each episode."""
        latest: dict[int, str] = {}
        for event in self._events:
            if event["type"].endswith("decision.recorded"):
                latest[event["data"]["episode"]] = event["data"]["text"]
        return [(f"episode {number}", text) for number, text in sorted(latest.items())]

    def _reports(self, stack: Places) -> list[tuple[int, Path]]:
        """Write the report of each drift episode."""
        from driftsonde.core.cli.report import episode_page

        found = []
        for number in sorted({e["data"]["episode"] for e in self._events if e["type"].endswith("drift.detected")}):
            path = self._folder / f"report-{MONITOR}-{number}.html"
            path.write_text(episode_page(stack.service_url("detector"), MONITOR, number), encoding="utf-8")
            found.append((number, path))
        return found

    async def _save(self) -> Path:
        """Copy what the jobs wrote from S3, which ends with the emulator, to the folder that stays."""
        from driftsonde.core.aws.session import aws_client

        prefix, folder = "retrained/", self._folder / "retrained"
        async with aws_client("s3") as s3:
            page = await s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
            for item in page.get("Contents", []):
                path = folder / item["Key"].removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                answer = await s3.get_object(Bucket=BUCKET, Key=item["Key"])
                path.write_bytes(await answer["Body"].read())
        return folder

    def _watch(self, stack: Stack) -> None:
        """Have a Prometheus scrape the services from here on, if there is one."""
        from driftsonde.core.local.prometheus import start_prometheus

        with self._screen.step("start Prometheus"):
            self._prometheus = start_prometheus(stack)

    def _stay(self, stack: Stack) -> None:
        from driftsonde.core.cli.up import wait_for_signal

        self._screen.facts("Running until Ctrl-C", [
            *((name, f"{stack.service_url(name)}/metrics") for name in ("detector", "retrainer", "notifier")),
            ("console", f"{stack.service_url('detector')}/"),
            ("status", f"driftsonde status --url {stack.service_url('detector')}"),
            ("Prometheus", self._prometheus),
            ("decisions", f"driftsonde explain {MONITOR}/1 --url {stack.service_url('detector')}"),
            ("S3", f"{stack.endpoint}  (key and secret: test)"),
        ])  # fmt: skip
        wait_for_signal()

    def _monitor(self, stack: Places) -> dict[str, Any]:
        monitors: list[dict[str, Any]] = fetch(stack.service_url("detector"), "/api/monitors")
        return monitors[0]

    def _until(self, stack: Places, ready: Any, what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            stack.check()
            if time.monotonic() > deadline:
                raise DriftsondeError(f"{what} did not come within {seconds:.0f} s; {stack.logs}")
            time.sleep(0.05)


def demo_config(webhook: Path) -> dict[str, Any]:
    """Return the demo's driftsonde.yaml; deploy/compose/driftsonde.yaml is the same with the path of its webhook."""
    from driftsonde.core.local.demo.champion import HYPERPARAMETERS, IMAGE, addresses
    from driftsonde.core.local.demo.flights import LABEL
    from driftsonde.core.local.stack import ROLE

    model, encoding = addresses(BUCKET)
    return {
        "monitors": [{
            "name": MONITOR,
            "drops": f"s3://{BUCKET}/incoming/",
            "baseline": {"uri": f"s3://{BUCKET}/baseline/", "backtest": "date:1d"},
            "columns": {"ignore": ["date"], "label": LABEL},
            # Five weeks pass in a minute here; a real monitor keeps the default of one training in 24 hours.
            "retrain": {"recipe": "flights-xgb", "cooldown": "0s", "max_per_day": 10},
            "notify": ["ml-oncall"],
        }],
        "recipes": {"flights-xgb": {
            "role": ROLE,
            "output": f"s3://{BUCKET}/retrained/",
            "training": {"image": IMAGE, "hyperparameters": HYPERPARAMETERS},
            "gate": {"metric": "auc", "direction": "max", "margin": 0.0},
            "champion": {"model": model, "encoding": encoding},
        }},
        # Made up, so that a decision shows what it would cost: local SageMaker is free, and AWS's price depends on the region.
        "budget": {"prices": {"ml.m5.large": 0.1}},
        "channels": {"ml-oncall": {"type": "slack", "webhook_file": str(webhook), "allow_private": True}},
    }  # fmt: skip
