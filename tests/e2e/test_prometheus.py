"""A real Prometheus beside a running stack: everything is scraped, all rules load, and every query of every dashboard returns data."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import yaml

from driftsonde.core.aws.session import aws_client
from driftsonde.core.local.demo.receiver import SlackReceiver
from driftsonde.core.local.prometheus import NAME, RULES, find_prometheus, start_prometheus
from driftsonde.core.local.stack import SERVICES, Stack
from unit.deploy.dashboards import asked, dashboard
from unit.deploy.promql import SCRAPED, exposed, selected
from unit.deploy.test_alerts import ALERTS

from .test_kill import BUCKET, MONITOR, config, eventually, frame, parquet

QUIET, DRIFTED = 4, 1
pytestmark = [
    pytest.mark.skipif(find_prometheus() is None, reason="Prometheus is not installed (Debian: apt-get install prometheus)"),
    pytest.mark.timeout(180),
]


class Watched:
    """A stack that a Prometheus scrapes."""

    def __init__(self, stack: Stack, slack: SlackReceiver) -> None:
        self.stack, self.slack = stack, slack

    def ask(self, path: str, **parameters: Any) -> Any:
        """Ask Prometheus's API."""
        url = f"{self.stack.service_url(NAME)}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float:
        """Return the one value of a query; -1 where there is none yet."""
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else -1.0

    def play(self) -> None:
        """Have drops judged, one of them drift, and a model retrained and promoted."""
        with self.stack.aws():
            asyncio.run(self._upload())
            for name in SERVICES:
                self.stack.launch_service(name)
            for name in SERVICES:
                self.stack.wait_ready(name)
            eventually(lambda: bool(self.slack.messages), "a message")
            eventually(lambda: self.value("max(driftsonde_retrainer_plans_total{state='done'})") == 1, "the end of the plan", 90)
            # What the store says comes a little later than what the process counts.
            eventually(lambda: self.value("max(driftsonde_retrainer_model_timestamp_seconds)") > 0, "the champion", 30)
            eventually(lambda: self.value("max(driftsonde_detector_episode_opened_timestamp_seconds)") > 0, "the episode", 30)

    async def _upload(self) -> None:
        rule = {"QueueArn": self.stack.queue_arn, "Events": ["s3:ObjectCreated:*"]}
        async with aws_client("s3") as s3:
            await s3.create_bucket(Bucket=BUCKET)
            await s3.put_object(Bucket=BUCKET, Key="train/base.parquet", Body=parquet(pd.concat([frame(n) for n in range(6)])))
            await s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [rule]})
            for number in range(QUIET + DRIFTED):
                body = parquet(frame(100 + number, 0.8 if number >= QUIET else 0.0))
                await s3.put_object(Bucket=BUCKET, Key=f"incoming/{number:02d}.parquet", Body=body)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A stack that has lived through an episode."""
    folder = tmp_path_factory.mktemp("watched")
    with SlackReceiver() as slack:
        (folder / "webhook").write_text(slack.url)
        written = {**config(folder / "webhook"), "budget": {"prices": {"ml.m5.large": 0.1}, "spend_per_month": 500}}
        (folder / "driftsonde.yaml").write_text(yaml.safe_dump(written))
        with Stack(folder, folder / "driftsonde.yaml") as stack:
            start_prometheus(stack)
            made = Watched(stack, slack)
            made.play()
            yield made


def test_every_service_is_scraped_without_an_error(watched: Watched) -> None:
    targets = watched.ask("targets")["activeTargets"]
    assert {target["labels"]["job"] for target in targets} == {f"driftsonde-{name}" for name in SERVICES}
    assert [target["lastError"] for target in targets if target["health"] != "up"] == []


def test_all_alert_rules_load_and_can_be_evaluated(watched: Watched) -> None:
    eventually(lambda: all(rule["health"] == "ok" for rule in rules(watched)), "every rule to be evaluated", 30)
    assert {rule["name"] for rule in rules(watched)} == {alert["alert"] for alert in ALERTS}
    assert all(not rule.get("lastError") for rule in rules(watched))
    assert RULES.is_file()


def rules(watched: Watched) -> list[dict[str, Any]]:
    """Return the rules, as Prometheus has them."""
    return [rule for group in watched.ask("rules")["groups"] for rule in group["rules"]]


def test_every_query_of_every_dashboard_returns_data(watched: Watched) -> None:
    now = watched.value("vector(time())")
    empty = []
    for each in asked():
        query = each.filled(MONITOR)
        at_once = watched.ask("query", query=query, time=now)["result"]
        over_time = watched.ask("query_range", query=query, start=now - 60, end=now, step=5)["result"]
        if not at_once or not over_time:
            empty.append((each.dashboard, each.panel, query))
    assert empty == []


def test_rules_select_only_series_that_are_there(watched: Watched) -> None:
    missing = []
    for alert in ALERTS:
        for each in selected(alert["expr"]):
            wanted = ",".join(f'{label}="{value}"' for label, value in each.exact)
            if not watched.ask("series", **{"match[]": f"{each.name}{{{wanted}}}"}):
                missing.append((alert["alert"], each))
    assert missing == []


def test_real_exposition_has_the_metrics_and_labels_that_are_documented(watched: Watched) -> None:
    found: dict[str, set[str]] = {}
    for series in watched.ask("series", **{"match[]": '{job=~"driftsonde.*"}'}):
        found.setdefault(series["__name__"], set()).update(series.keys() - {"__name__"} - SCRAPED)
    scraped = {name for name in found if name.startswith("driftsonde_") and not name.endswith("_created")}
    assert scraped <= exposed().keys()
    assert all(found[name] == set(exposed()[name]) for name in scraped)
    unseen = exposed().keys() - scraped - {"up", "ALERTS"}
    assert unseen <= {f"driftsonde_{name}_problem" for name in SERVICES}  # nothing was wrong


def test_monitor_can_be_chosen_and_its_history_is_marked_at_the_right_time(watched: Watched) -> None:
    assert watched.ask("label/monitor/values", **{"match[]": "driftsonde_detector_open_episodes"}) == [MONITOR]
    now = watched.value("vector(time())")
    for annotation in dashboard("monitor")["annotations"]["list"]:
        query = annotation["expr"].replace("$monitor", MONITOR)
        values = [float(series["value"][1]) / 1000 for series in watched.ask("query", query=query)["result"]]
        assert any(now - 180 < value <= now for value in values), annotation["name"]


def test_health_fires_nothing_but_what_a_young_stack_lacks(watched: Watched) -> None:
    firing = [alert for alert in watched.ask("alerts")["alerts"] if alert["state"] == "firing"]
    assert firing == []
