"""The whole loop under `kill -9`: real processes, real NATS, the emulator, local SageMaker.

Every S3 notification is delivered five times in a shuffled order while each service in turn is killed without warning. What
is checked is read from outside: the state files, the emulator's S3 and queues, SageMaker's own list of jobs, and what Slack got.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from driftsonde.core.aws.session import aws_client
from driftsonde.core.counting import count_object
from driftsonde.core.local.demo.receiver import SlackReceiver
from driftsonde.core.local.queues import DEAD_LETTERS, INTAKE
from driftsonde.core.local.stack import ACCOUNT, REGION, ROLE, SERVICES, Stack
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.readers import LocalSource
from driftsonde.core.sketch.codec import encode_table

BUCKET, MONITOR, TAP = "acme-ml", "churn", "tap"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
QUIET, DRIFTED = 8, 2
ROWS = 1500


def frame(seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=ROWS) + shift, rng.normal(size=ROWS)
    chance = 1 / (1 + np.exp(-(1.5 * x - y)))
    return pd.DataFrame({"x": x, "y": y, "plan": rng.choice(["free", "pro"], ROWS), "churned": (rng.random(ROWS) < chance).astype(int)})


def parquet(data: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    data.to_parquet(out, index=False)
    return out.getvalue()


def config(webhook: Path) -> dict[str, Any]:
    return {
        "monitors": [
            {
                "name": MONITOR,
                "drops": f"s3://{BUCKET}/incoming/",
                "baseline": f"s3://{BUCKET}/train/",
                "columns": {"label": "churned"},
                "retrain": {"recipe": "xgb"},
                "notify": ["oncall"],
            }
        ],
        "recipes": {
            "xgb": {
                "role": ROLE,
                "output": f"s3://{BUCKET}/retrained/",
                "training": {"image": IMAGE, "hyperparameters": {"num_round": "20", "seed": "1"}},
            }
        },
        "channels": {"oncall": {"type": "slack", "webhook_file": str(webhook), "allow_private": True}},
    }


class Loop:
    """The running stack, and what the test does to it."""

    def __init__(self, stack: Stack, slack: SlackReceiver, folder: Path, databases: dict[str, Engine]) -> None:
        self.stack, self.slack, self.folder, self.databases = stack, slack, folder, databases
        self.drops = {f"incoming/{n:02d}.parquet": parquet(frame(100 + n, 0.8 if n >= QUIET else 0.0)) for n in range(QUIET + DRIFTED)}

    async def upload(self) -> list[str]:
        """Put everything into S3 and return the notifications that S3 sent for the drops, as it sent them."""
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{TAP}"
        rule = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        rule["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "incoming/"}]}}  # type: ignore[assignment]  # S3's shape
        async with aws_client("s3") as s3, aws_client("sqs") as sqs:
            tap = (await sqs.create_queue(QueueName=TAP))["QueueUrl"]
            await s3.create_bucket(Bucket=BUCKET)
            await s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [rule]})
            await s3.put_object(Bucket=BUCKET, Key="train/base.parquet", Body=parquet(pd.concat([frame(n) for n in range(6)])))
            for key, body in self.drops.items():
                await s3.put_object(Bucket=BUCKET, Key=key, Body=body)
            bodies: list[str] = []
            while len(bodies) < len(self.drops):
                answer = await sqs.receive_message(QueueUrl=tap, MaxNumberOfMessages=10, WaitTimeSeconds=2)
                bodies += [m["Body"] for m in answer.get("Messages", []) if "TestEvent" not in m["Body"]]
            return bodies

    async def send(self, bodies: list[str]) -> None:
        async with aws_client("sqs") as sqs:
            for body in bodies:
                await sqs.send_message(QueueUrl=self.stack.queue_url(INTAKE), MessageBody=body)

    def query(self, service: str, statement: str) -> list[tuple[Any, ...]]:
        with self.databases[service].connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def jobs(self) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.stack.ports['sagemaker']}/_local/jobs"
        with urllib.request.urlopen(url, timeout=5) as answer:
            listed = json.load(answer)
        found: list[dict[str, Any]] = listed["jobs"] if isinstance(listed, dict) else listed
        return found

    def restart(self, name: str) -> None:
        """Kill a child without warning and start it again."""
        self.stack.kill(name)
        if name == "sagemaker":
            self.stack.start_sagemaker()
        else:
            self.stack.start_service(name)

    async def keys(self, prefix: str) -> list[str]:
        async with aws_client("s3") as s3:
            page = await s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for item in page.get("Contents", [])]

    async def depth(self, queue: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        async with aws_client("sqs") as sqs:
            answer = await sqs.get_queue_attributes(QueueUrl=self.stack.queue_url(queue), AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)


def eventually(check: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:.0f} s"
        time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Engine]]:
    """The state of each service: a file, or a database of its own."""
    if request.param == "sqlite":
        yield {name: create_engine(f"sqlite:///{tmp_path / name}.sqlite") for name in SERVICES}
        return
    server = make_url(request.getfixturevalue("postgres_server")).set(drivername="postgresql+psycopg")
    names = {name: f"kill_{name}_{random.randrange(10**9)}" for name in SERVICES}
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in names.values():
            connection.execute(text(f"create database {name}"))
    engines = {service: create_engine(server.set(database=name)) for service, name in names.items()}
    yield engines
    for one in (engine, *engines.values()):
        one.dispose()


@pytest.fixture
def loop(tmp_path: Path, databases: dict[str, Engine]) -> Iterator[Loop]:
    webhook = tmp_path / "webhook"
    urls = {name: engine.url.render_as_string(hide_password=False).replace("+psycopg", "") for name, engine in databases.items()}
    with SlackReceiver() as slack:
        webhook.write_text(slack.url)
        (tmp_path / "driftsonde.yaml").write_text(yaml.safe_dump(config(webhook)))
        settings = {"DRIFTSONDE_LEASE": "30s"}
        with Stack(tmp_path, tmp_path / "driftsonde.yaml", environment=settings, databases=urls) as stack, stack.aws():
            yield Loop(stack, slack, tmp_path, databases)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_five_deliveries_and_kills_end_as_one(loop: Loop) -> None:
    stack = loop.stack
    messages = asyncio.run(loop.upload()) * 5
    random.Random(7).shuffle(messages)
    # SageMaker stays away until every drop is judged, so that no drop meets the baseline that the retraining leads to.
    stack.kill("sagemaker")
    for name in SERVICES:
        stack.launch_service(name)
    for name in SERVICES:
        stack.wait_ready(name)
    quarter = len(messages) // 4
    for part, victim in enumerate(("detector", "notifier", "detector", "retrainer")):
        asyncio.run(loop.send(messages[part * quarter : (part + 1) * quarter if part < 3 else len(messages)]))
        time.sleep(0.3)
        loop.restart(victim)
    eventually(
        lambda: len(loop.query("detector", 'select 1 from "window" where verdict is not null')) == len(loop.drops), "every verdict", 90
    )
    eventually(lambda: bool(loop.query("retrainer", "select 1 from job where state = 'wanted'")), "an accepted plan")
    before = loop.query("detector", 'select id, verdict, rows from "window" order by position')

    stack.start_sagemaker()
    for step, victim in (("prepare", "retrainer"), ("train", "sagemaker"), ("evaluate", "retrainer"), ("transform", "retrainer")):
        reached = f"select 1 from job where step = '{step}' and state != 'wanted'"
        eventually(lambda reached=reached: bool(loop.query("retrainer", reached)), f"the {step} job")  # type: ignore[misc]  # bound now
        loop.restart(victim)
    eventually(lambda: loop.query("retrainer", "select state from plan") == [("done",)], "the end of the plan", 90)
    eventually(lambda: loop.query("detector", "select count(*) from baseline where state = 'adopted'") == [(2,)], "the new baseline")
    eventually(lambda: asyncio.run(loop.depth(INTAKE)) == 0, "an empty intake queue")
    eventually(lambda: any("Drift: churn" in json.dumps(message) for message in loop.slack.messages), "the message")

    assert [word for _, word, _ in before] == ["ok"] * QUIET + ["drift"] * DRIFTED
    assert {rows for _, _, rows in before} == {ROWS}
    assert parts_as_counted_directly(loop)
    assert loop.query("detector", "select number, kind, cause from episode") == [(1, "drift", "rebaselined")]
    assert loop.query("retrainer", "select count(*) from budget") == [(1,)]
    created = [job["name"] for job in loop.jobs() if job["name"].startswith("ds-churn-")]
    assert sorted(name.split("-")[2] for name in created if "model" not in name) == ["evaluate", "prepare", "train", "transform"]
    assert len(asyncio.run(loop.keys("retrained/churn/episode-1/predictions"))) == 1
    assert asyncio.run(loop.depth(DEAD_LETTERS)) == 0
    assert stack.stop() == dict.fromkeys(stack.children, 0)


def parts_as_counted_directly(loop: Loop) -> bool:
    """Whether the stored parts are, byte for byte, what counting each object once gives."""
    (data,) = loop.query("detector", "select data from baseline where version = 1")[0]
    baseline = FrozenBaseline.from_bytes(data)
    stored = dict(loop.query("detector", "select key, sketch from part where baseline = 1"))
    assert sorted(stored) == sorted(loop.drops)
    for key, body in loop.drops.items():
        path = loop.folder / "drop.parquet"
        path.write_bytes(body)
        if stored[key] != encode_table(count_object(baseline, LocalSource(path))):
            return False
    return True
