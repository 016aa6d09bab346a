"""Broken data through the whole loop, real processes from S3 to SageMaker: each kind lies over a drop that also drifts, and none is trained on."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import create_engine, text

from driftsonde.core.aws.session import aws_client
from driftsonde.core.local.stack import ROLE, Stack

from .test_kill import eventually, parquet

BUCKET = "acme-ml"
ROWS, BEFORE = 1_000, 6
SERVICES = ("detector", "retrainer")


def frame(seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "x": rng.normal(size=ROWS) + shift, "y": rng.exponential(size=ROWS), "plan": rng.choice(["free", "pro"], ROWS),
        "churned": rng.integers(0, 2, ROWS),
    })  # fmt: skip


Spoil = Callable[[pd.DataFrame], bytes]
BROKEN: dict[str, Spoil] = {
    "nulls": lambda drop: parquet(drop.assign(y=drop["y"].mask(np.arange(ROWS) % 2 == 0))),
    "schema": lambda drop: parquet(drop.drop(columns="y")),
    "truncated": lambda drop: parquet(drop)[:-300],
    "duplicates": lambda drop: parquet(pd.concat([drop, drop, drop])),
    "constant": lambda drop: parquet(drop.assign(y=0.5)),
    "volume": lambda drop: parquet(drop.head(150)),
}
WORDS = {
    "nulls": "missing values changed in y", "schema": "missing y", "truncated": "1 drop could not be read", "duplicates": "100% of the distinct rows are there more than once",
    "constant": "is all that there is in y", "volume": "150 rows, where 1,000 are usual",
}  # fmt: skip


def config(names: list[str]) -> dict[str, Any]:
    recipe = {"role": ROLE, "output": f"s3://{BUCKET}/out/", "training": {"image": "none"}}
    return {
        "monitors": [
            {"name": name, "drops": f"s3://{BUCKET}/in/{name}/", "baseline": f"s3://{BUCKET}/train/", "columns": {"label": "churned"},
             "retrain": {"recipe": "any"}}
            for name in names
        ],
        "recipes": {"any": recipe},
    }  # fmt: skip


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    (tmp_path / "driftsonde.yaml").write_text(yaml.safe_dump(config(["sound", *BROKEN])))
    urls = {name: f"sqlite:///{tmp_path / name}.sqlite" for name in SERVICES}
    with Stack(tmp_path, tmp_path / "driftsonde.yaml", databases=urls) as running, running.aws():
        yield running


async def upload(stack: Stack, objects: dict[str, bytes], *, first: bool = False) -> None:
    async with aws_client("s3") as s3:
        if first:
            rule = {"QueueArn": stack.queue_arn, "Events": ["s3:ObjectCreated:*"]}
            await s3.create_bucket(Bucket=BUCKET)
            await s3.put_object(Bucket=BUCKET, Key="train/base.parquet", Body=parquet(pd.concat([frame(n) for n in range(8)])))
            await s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [rule]})
        for key, body in objects.items():
            await s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def query(folder: Path, service: str, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(f"sqlite:///{folder / service}.sqlite")
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(statement))]
    engine.dispose()
    return found


@pytest.mark.timeout(180)
def test_broken_drops_that_drift_start_no_job_and_say_why(stack: Stack, tmp_path: Path) -> None:
    names = ["sound", *BROKEN]
    quiet = {f"in/{name}/{n}.parquet": parquet(frame(100 + n)) for name in names for n in range(BEFORE)}
    asyncio.run(upload(stack, quiet, first=True))
    for name in SERVICES:
        stack.start_service(name)
    judged = 'select count(*) from "window" where verdict is not null'
    eventually(lambda: query(tmp_path, "detector", judged) == [(len(quiet),)], "every quiet verdict", 90)

    drifted = frame(200, shift=1.0)
    asyncio.run(upload(stack, {f"in/{name}/{BEFORE}.parquet": spoil(drifted) for name, spoil in BROKEN.items()}))
    eventually(lambda: len(query(tmp_path, "retrainer", "select 1 from decision")) == len(BROKEN), "a decision about each", 60)
    # The drop that is cut off has no rows to drift; what follows it does, and is not trusted while that episode is open.
    asyncio.run(upload(stack, {f"in/{name}/{BEFORE + 1}.parquet": parquet(frame(300, shift=1.0)) for name in ("sound", "truncated")}))
    eventually(lambda: bool(query(tmp_path, "retrainer", "select 1 from job where state != 'wanted'")), "the job of the sound one", 60)
    refused = "select 1 from plan where monitor = 'truncated' and state = 'refused'"
    eventually(lambda: bool(query(tmp_path, "retrainer", refused)), "the refusal after the one that was cut off", 60)

    records = [json.loads(body) for (body,) in query(tmp_path, "retrainer", "select body from decision order by monitor, episode")]
    said = {name: " ".join(record["text"] for record in records if record["monitor"] == name) for name in names}
    assert {record["answer"] for record in records if record["monitor"] != "sound"} == {"fix_data"}
    assert {name: words for name, words in WORDS.items() if words not in said[name]} == {}
    assert [record["answer"] for record in records if record["monitor"] == "sound"] == ["retrain"]
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['sagemaker']}/_local/jobs", timeout=5) as answer:
        assert {job["name"].split("-")[1] for job in json.load(answer)} == {"sound"}
