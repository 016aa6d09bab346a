"""The stack of the template in the emulator, and the three services as child processes of its tasks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from driftsonde.core.local.demo.receiver import SlackReceiver
from driftsonde.core.local.stack import answers, free_port

from .recorder import Gate, Policy
from .support import ACCOUNT, REGION, SERVICES, Deployed, aws

OLD, NEW = "acme-ml", "acme-new"
ENDPOINT = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/churn-live"
PIPELINE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/churn-own"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:churn-own"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
ROWS = 1500


def frame(seed: int, shift: float = 0.0, rows: int = ROWS) -> pd.DataFrame:
    """Rows whose label follows x and y."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=rows) + shift, rng.normal(size=rows)
    chance = 1 / (1 + np.exp(-(1.5 * x - y)))
    return pd.DataFrame({"x": x, "y": y, "churned": (rng.random(rows) < chance).astype(int)})


def configuration(role: str, topic: str) -> dict[str, Any]:
    """driftsonde.yaml of the run; its channels read variables, because ECS mounts no files."""
    common = {"columns": {"label": "churned"}, "notify": ["oncall", "audit"]}
    return {
        "monitors": [
            {
                "name": "churn", "drops": f"s3://{OLD}/churn/in/", "baseline": f"s3://{OLD}/churn/base/", **common,
                "retrain": {"recipe": "xgb"},
            },
            {"name": "fresh", "drops": f"s3://{NEW}/in/", "baseline": f"s3://{NEW}/base/", **common},
        ],
        "recipes": {
            "xgb": {
                "role": role, "output": f"s3://{OLD}/out/",
                "training": {"image": IMAGE, "hyperparameters": {"num_round": "20", "seed": "1"}},
                "deploy": {"strategy": "single", "endpoint": "churn-live"},
            }
        },
        "channels": {
            "oncall": {"type": "slack", "webhook_file": "env:CHANNEL_SECRETS/slack", "allow_private": True},
            "audit": {"type": "sns", "topic_arn": topic},
        },
    }  # fmt: skip


class Run:
    """What the tests look at."""

    def __init__(self, stack: Deployed, gates: Mapping[str, Gate], sagemaker: str, slack: SlackReceiver, heard: str) -> None:
        self.stack, self.gates, self.sagemaker, self.slack, self.heard_url = stack, gates, sagemaker, slack, heard
        self.folder, self.ports = Path(), dict[str, int]()
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def put(self, bucket: str, key: str, data: pd.DataFrame) -> None:
        """Store an object, as whoever makes drops does."""
        path = self.folder / "drop.parquet"
        data.to_parquet(path, index=False)
        self.stack.client("s3").put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    def get(self, service: str, path: str) -> Any:
        """Ask a service's API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[service]}{path}", timeout=10) as answer:
            return json.load(answer)

    def until(self, check: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Wait for something; a service that ended meanwhile ends the wait."""
        deadline = time.monotonic() + seconds
        while not check():
            for name, child in self.children.items():
                assert child.poll() is None, f"{name} ended with {child.returncode}\n{self.log(name)}"
            assert time.monotonic() < deadline, f"{what}: not in {seconds:.0f} s\n{self.log('detector')}\n{self.log('retrainer')}"
            time.sleep(0.1)

    def log(self, service: str) -> str:
        """Return the end of what a service said."""
        return "\n".join((self.folder / f"{service}.log").read_text(errors="replace").splitlines()[-15:])

    def start(self, service: str) -> None:
        """Start a service with what its task definition says; only addresses and waits are this machine's."""
        self.ports[service] = free_port()
        local = {
            "DRIFTSONDE_HOST": "127.0.0.1", "DRIFTSONDE_PORT": str(self.ports[service]),
            "DRIFTSONDE_POLL_SECONDS": "1", "DRIFTSONDE_POLL_JOBS_SECONDS": "2",
            "AWS_ENDPOINT_URL": self.gates[service].url, "AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        task = self.stack.environment(service)
        command = [sys.executable, "-m", f"driftsonde.{service}"]
        with (self.folder / f"{service}.log").open("ab") as log:
            self.children[service] = _popen(command, {**_outside(), **task, **local}, log)


def _outside() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DRIFTSONDE_", "PG"))}


def _popen(command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=dict(environment), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def network(emulator: str) -> dict[str, str]:
    """Return a VPC and two of its subnets, as parameters."""
    ec2 = aws("ec2", emulator)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    return {"Vpc": vpc, "Subnets": ",".join(item["SubnetId"] for item in subnets[:2])}


def parameters(emulator: str, secrets: Mapping[str, str], topic: str) -> dict[str, str]:
    """Return every parameter of the run's stack. One task, because the emulator has no Application Auto Scaling."""
    arns = {
        name: aws("secretsmanager", emulator).create_secret(Name=f"driftsonde/{name}", SecretString=text)["ARN"]
        for name, text in secrets.items()
    }
    return {
        **network(emulator),
        "ImageRegistry": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com", "ImageTag": "test", "ConfigSecret": arns["config"],
        "ChannelSecret": arns["channels"], "Database": "existing", "DatabaseSecret": arns["database"],
        "DataBuckets": OLD, "DropKeys": "churn/in/*", "NewBucket": NEW, "ReadPaths": f"{OLD}/churn/*,{NEW}/*", "OutputPath": f"{OLD}/out/",
        "JobRole": f"arn:aws:iam::{ACCOUNT}:role/jobs", "Endpoints": ENDPOINT, "Pipelines": PIPELINE, "StateMachines": MACHINE,
        "ChannelTopics": topic, "DetectorMinTasks": "1", "DetectorMaxTasks": "1",
    }  # fmt: skip


@pytest.fixture(scope="session")
def postgres_database(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database: CloudFormation makes no schema, so the services must."""
    server = make_url(postgres_server).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("create database ecs")
    yield server.set(drivername="postgresql", database="ecs").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("drop database ecs with (force)")
    engine.dispose()


@pytest.fixture(scope="session")
def run(emulator: str, postgres_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Deploy the template, and start its services; they are given 60 seconds to get ready."""
    folder = tmp_path_factory.mktemp("ecs")
    s3, sns, sqs = (aws(name, emulator) for name in ("s3", "sns", "sqs"))
    s3.create_bucket(Bucket=OLD)
    s3.put_bucket_versioning(Bucket=OLD, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket=OLD, NotificationConfiguration={"EventBridgeConfiguration": {}})
    topic = sns.create_topic(Name="told")["TopicArn"]
    heard = sqs.create_queue(QueueName="heard")["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:heard")
    role = f"arn:aws:iam::{ACCOUNT}:role/jobs"
    with contextlib.ExitStack() as cleanup:
        slack = cleanup.enter_context(SlackReceiver())
        separator = "&" if "?" in postgres_database else "?"
        urls = {service: f"{postgres_database}{separator}options=-csearch_path%3D{service}" for service in SERVICES}
        config = yaml.safe_dump(configuration(role, topic))
        secrets = {"config": config, "channels": json.dumps({"slack": slack.url}), "database": json.dumps(urls)}
        stack = Deployed(emulator, parameters(emulator, secrets, topic))
        sagemaker = f"http://127.0.0.1:{free_port()}"
        gates = {
            service: cleanup.enter_context(Gate(service, Policy(stack.statements(service)), {"sagemaker": sagemaker}, emulator))
            for service in SERVICES
        }
        found = Run(stack, gates, sagemaker, slack, heard)
        found.folder = folder
        found.put(OLD, "churn/base/base.parquet", pd.concat([frame(number) for number in range(4)]))
        found.put(NEW, "base/base.parquet", pd.concat([frame(number) for number in range(4)]))
        cleanup.callback(_stop, found.children)
        _start_sagemaker(found, emulator)
        for service in SERVICES:
            found.start(service)
        for service in SERVICES:
            found.until(lambda service=service: answers(f"http://127.0.0.1:{found.ports[service]}/readyz"), f"{service} ready")  # type: ignore[misc]  # bound now
        yield found


def _start_sagemaker(run: Run, emulator: str) -> None:
    port = run.sagemaker.rpartition(":")[2]
    command = [
        sys.executable, "-m", "driftsonde.core.local.sagemaker", "--root", str(run.folder / "sagemaker"), "--port", port,
        "--account", ACCOUNT, "--region", REGION, "--events-queue-url", run.stack.outputs["JobStatesUrl"],
        "--min-state-seconds", "0.05", "--wait-scale", "0.001",
    ]  # fmt: skip
    keys = {"AWS_ENDPOINT_URL": emulator, "AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    with (run.folder / "sagemaker.log").open("ab") as log:
        run.children["sagemaker"] = _popen(command, {**_outside(), **keys, "OMP_NUM_THREADS": "1"}, log)
    run.until(lambda: answers(f"{run.sagemaker}/_local/health"), "local SageMaker")


def _stop(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for child in children.values():
        child.send_signal(signal.SIGTERM)
    for child in children.values():
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
