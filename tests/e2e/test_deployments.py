"""From a drift event to a model on a real-time endpoint: real jobs, real servers, real traffic, on local SageMaker.

Every test trains a model on drops in S3, has it brought to an endpoint where another one serves, and calls the endpoint all
the while as clients would. Nobody helps: each strategy ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from botocore.exceptions import ClientError
from sqlalchemy import select

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.config import parse_config
from driftsonde.core.errors import RetryableError
from driftsonde.core.events import BaselineRef, DeploymentFinished, DriftDetected, DropRef, Event, Fact, WindowRef, parse_event
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.retrainer import store
from driftsonde.retrainer.deploy.rollback import request
from driftsonde.retrainer.handlers import Handlers
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans
from driftsonde.retrainer.sagemaker import SageMaker, SageMakerEndpoints
from driftsonde.retrainer.watcher import Watcher
from local_sagemaker.support import ROLE, XGBOOST, Plane, client, credentials, model_archive, variant

BUCKET, ENDPOINT, FORMER = "acme-ml", "churn-live", "by-hand"
ROWS = 1500
ALARMS = ["churn-live-errors"]


def table(seed: int, rows: int, *extra: str) -> pd.DataFrame:
    """Rows whose label follows x and y; `extra` columns are noise."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({name: rng.normal(size=rows) for name in ("x", "y", *extra)})
    chance = 1 / (1 + np.exp(-(3 * data["x"] - 2 * data["y"])))
    return data.assign(churned=(rng.random(rows) < chance).astype(int))


class Later:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset


class Shop:
    """A retrainer at work on local SageMaker, and the clients of its endpoint."""

    def __init__(self, database: Database, section: dict[str, Any], clients: dict[str, Any]) -> None:
        recipe = {
            "role": ROLE, "output": f"s3://{BUCKET}/out/", "batch": {"enabled": False},
            "training": {"image": XGBOOST, "hyperparameters": {"num_round": "20", "max_depth": "3", "seed": "1"}},
            "deploy": {"endpoint": ENDPOINT, **section},
        }  # fmt: skip
        monitor = {
            "name": "churn", "drops": f"s3://{BUCKET}/in/", "baseline": f"s3://{BUCKET}/base/", "columns": {"label": "churned"},
            "retrain": {"recipe": "xgb"},
        }  # fmt: skip
        config = parse_config({"monitors": [monitor], "recipes": {"xgb": recipe}}, source="test")
        self.database, self.clock, self.clients = database, Later(), clients
        outbox, metrics = Outbox(database, store.outbox, store.inbox, self.clock), RetrainerMetrics()
        objects, sagemaker = S3Objects(clients["s3"]), clients["sagemaker"]
        plans = Plans(database, outbox, config, self.clock, metrics, "test", "uuid")
        endpoints = SageMakerEndpoints(sagemaker)
        self.watcher = Watcher(database, plans, SageMaker(sagemaker), endpoints, objects, self.clock, metrics, image=lambda: XGBOOST)
        self.handlers = Handlers(database, outbox, self.clock, lambda: None)
        self.answers: Counter[str] = Counter()
        self.failures = 0
        self._rows = table(99, 3000)
        self._asked = 0

    async def drift(self, *extra: str) -> None:
        """Put a drop with `extra` columns into S3 and say that it has drifted."""
        body = io.BytesIO()
        table(1, ROWS, *extra).to_parquet(body, index=False)
        answer = await self.clients["s3"].put_object(Bucket=BUCKET, Key="in/1.parquet", Body=body.getvalue())
        drop = DropRef(bucket=BUCKET, key="in/1.parquet", etag=answer["ETag"].strip('"'), rows=ROWS)
        fact = DriftDetected(
            monitor="churn", episode=1, window=WindowRef(id="w", rows=ROWS), baseline=BaselineRef(version=1, digest="b", rows=5000),
            summary="x moved", columns=("x",), checks=(), drops=(drop,),
        )  # fmt: skip
        await self.handlers.handle(Event.of(fact, time=self.clock.now()))

    async def until(self, done: Callable[[], bool], meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        """Go round, as the retrainer does, until something is true."""
        async with asyncio.timeout(100):
            while not done():
                with contextlib.suppress(RetryableError):
                    await self.watcher.round()
                if meanwhile is not None:
                    await meanwhile()
                await asyncio.sleep(0.05)

    async def call(self) -> tuple[str, float, int] | None:
        """Ask the endpoint about the next client; return which variant answered, what, and the truth that shows later."""
        row = self._rows.iloc[self._asked % len(self._rows)]
        self._asked += 1
        body = f"{row['x']},{row['y']}\n".encode()
        try:
            answer = await self.clients["sagemaker-runtime"].invoke_endpoint(EndpointName=ENDPOINT, Body=body, ContentType="text/csv")
        except ClientError:
            self.failures += 1
            return None
        variant_name = str(answer["InvokedProductionVariant"])
        self.answers[variant_name] += 1
        return variant_name, float(await answer["Body"].read()), int(row["churned"])

    def state(self) -> str:
        with self.database.read() as connection:
            return str(connection.scalar(select(store.plan.c.state)))

    def is_over(self) -> bool:
        return self.state() in store.TERMINAL

    def said(self) -> list[Fact]:
        with self.database.read() as connection:
            return [parse_event(row.body.encode()).data for row in connection.execute(select(store.outbox).order_by(store.outbox.c.id))]

    def ends(self) -> list[DeploymentFinished]:
        """What was announced of deployments' ends."""
        return [fact for fact in self.said() if isinstance(fact, DeploymentFinished)]

    def end(self) -> DeploymentFinished:
        """What was announced of the only deployment's end."""
        (fact,) = self.ends()
        return fact

    async def serving(self) -> list[str]:
        """The models that have their part of the traffic now, a shadow last; none while SageMaker is at work on it."""
        endpoint = await self.clients["sagemaker"].describe_endpoint(EndpointName=ENDPOINT)
        if endpoint["EndpointStatus"] != "InService":
            return []
        config = await self.clients["sagemaker"].describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
        variants = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]
        return [item["ModelName"] for item in variants]


@pytest.fixture
async def open_shop(emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Awaitable[Shop]]]:
    """Start local SageMaker with a former model on the endpoint, and a retrainer that deploys as asked."""
    for name, value in credentials(emulator).items():
        monkeypatch.setenv(name, value)
    plane = Plane(tmp_path / "sagemaker", emulator, "--wait-scale", "0.001")
    database = Database(f"sqlite:///{tmp_path / 'retrainer.sqlite'}")
    database.create_all(store.metadata)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(database.close)
        await asyncio.to_thread(plane.start)
        stack.callback(plane.stop)
        urls = {"s3": emulator, "sagemaker": plane.url, "sagemaker-runtime": plane.url}
        clients = {service: await stack.enter_async_context(client(service, url)) for service, url in urls.items()}

        async def start(*, former: bool = True, **section: Any) -> Shop:
            s3, sagemaker = clients["s3"], clients["sagemaker"]
            await s3.create_bucket(Bucket=BUCKET)
            await _empty(s3)
            if former:
                await s3.put_object(Bucket=BUCKET, Key="former.tar.gz", Body=model_archive(0.1, features=2))
                container = {"Image": XGBOOST, "ModelDataUrl": f"s3://{BUCKET}/former.tar.gz"}
                await sagemaker.create_model(ModelName=FORMER, ExecutionRoleArn=ROLE, PrimaryContainer=container)
                await sagemaker.create_endpoint_config(EndpointConfigName=FORMER, ProductionVariants=[variant("Main", FORMER)])
                await sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=FORMER)
                while (await sagemaker.describe_endpoint(EndpointName=ENDPOINT))["EndpointStatus"] == "Creating":
                    await asyncio.sleep(0.05)
            return Shop(database, section, clients)

        yield start


async def _empty(s3: Any) -> None:
    """Remove what an earlier test left: the emulator is one for all."""
    for item in (await s3.list_objects_v2(Bucket=BUCKET)).get("Contents", []):
        await s3.delete_object(Bucket=BUCKET, Key=item["Key"])


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_single_creates_the_endpoint_of_a_first_model(open_shop: Any) -> None:
    shop = await open_shop(former=False, strategy="single")
    await shop.drift()
    await shop.until(shop.is_over)
    assert (shop.state(), shop.end().outcome) == ("done", "live")
    assert await shop.serving() == [shop.end().model]
    answered = await shop.call()
    assert answered is not None
    assert (answered[0], 0 < answered[1] < 1) == ("AllTraffic", True)
    assert [fact.TYPE for fact in shop.said()][-3:] == ["deployment.started", "deployment.finished", "model.promoted"]


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_single_takes_over_and_is_rolled_back_by_hand(open_shop: Any) -> None:
    shop = await open_shop(strategy="single")
    await shop.drift()
    await shop.until(shop.is_over)
    model = shop.end().model
    assert await shop.serving() == [model]
    with shop.database.write() as connection:
        request(connection, shop.database, shop.clock, "churn", "complaints")
    await shop.until(lambda: len(shop.ends()) == 2)
    assert await shop.serving() == [FORMER]
    assert (shop.ends()[1].outcome, shop.ends()[1].reason) == ("rolled_back", "complaints")
    packages = await shop.clients["sagemaker"].list_model_packages(ModelPackageGroupName="ds-churn")
    assert [package["ModelApprovalStatus"] for package in packages["ModelPackageSummaryList"]] == ["Rejected"]


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("tolerance", "outcome"), [(1.0, "live"), (0.001, "rolled_back")])
async def test_shadow_ends_by_itself_as_its_answers_deserve(open_shop: Any, tolerance: float, outcome: str) -> None:
    capture = f"s3://{BUCKET}/captured/"
    shop = await open_shop(strategy="shadow", capture=capture, tolerance=tolerance, settle="3s", least=20, **{"for": "1h"})
    await shop.drift()
    await shop.until(lambda: shop.state() == "deploying")
    while len(await shop.serving()) < 2:
        await shop.watcher.round()
    before = shop.answers["Main"]
    await shop.until(lambda: shop.answers["Main"] >= before + 30, shop.call)
    shop.clock.offset += timedelta(hours=2)
    await shop.until(shop.is_over)
    assert shop.end().outcome == outcome
    assert await shop.serving() == [shop.end().model if outcome == "live" else FORMER]
    assert set(shop.answers) == {"Main"}
    assert shop.failures == 0
    assert ("answers agree" in shop.end().reason) == (outcome == "rolled_back")


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("section", [{"strategy": "canary", "size": 10}, {"strategy": "linear", "step": 50}])
async def test_guarded_deployment_ends_by_itself(open_shop: Any, section: dict[str, Any]) -> None:
    shop = await open_shop(alarms=ALARMS, bake="10m", keep="1m", **section)
    await shop.drift()
    await shop.until(shop.is_over, lambda: shop.call() if shop.state() == "deploying" else asyncio.sleep(0))
    assert (shop.state(), shop.end().outcome, shop.failures) == ("done", "live", 0)
    assert await shop.serving() == [shop.end().model]
    assert set(shop.answers) == {"Main"}


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_failing_canary_rolls_back_to_the_champion(open_shop: Any) -> None:
    shop = await open_shop(strategy="canary", size=50, alarms=ALARMS, bake="1h")
    await shop.drift("z")  # the new model wants a column that the clients do not send
    await shop.until(shop.is_over, lambda: shop.call() if shop.state() == "deploying" else asyncio.sleep(0))
    assert (shop.state(), shop.end().outcome) == ("rolled_back", "rolled_back")
    assert ALARMS[0] in shop.end().reason
    assert await shop.serving() == [FORMER]
    assert shop.failures == 1
    assert "model.promoted" not in [fact.TYPE for fact in shop.said()]
    with shop.database.read() as connection:
        assert list(connection.scalars(select(store.model.c.state))) == ["rolled_back"]


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_bandit_converges_to_the_better_model_and_stops(open_shop: Any) -> None:
    stop = {"probability": 0.99, "least_rows": 30}
    shop = await open_shop(strategy="bandit", labels=f"s3://{BUCKET}/labels/", every="1s", floor=0.2, stop=stop)
    await shop.drift()
    await shop.until(lambda: shop.state() == "deploying")
    shares: list[float] = []

    async def trade() -> None:
        """Ask for twenty clients; what they did is known a day later, and written as labels."""
        if len(await shop.serving()) < 2:
            return
        calls = [await shop.call() for _ in range(20)]
        known = [{"variant": name, "reward": int((score > 0.5) == bool(truth))} for name, score, truth in filter(None, calls)]
        body = "\n".join(json.dumps(line) for line in known).encode()
        await shop.clients["s3"].put_object(Bucket=BUCKET, Key=f"labels/{len(shares):03d}.jsonl", Body=body)
        shares.append(sum(line["variant"] != FORMER for line in known) / len(known))
        shop.clock.offset += timedelta(days=1)

    await shop.until(shop.is_over, trade)
    assert (shop.state(), shop.end().outcome, shop.failures) == ("done", "live", 0)
    assert await shop.serving() == [shop.end().model]
    assert shares[0] == 0.5
    assert max(shares) >= 0.7
    assert shop.answers[shop.end().model] > shop.answers[FORMER] >= stop["least_rows"]
    assert "better one with probability" in shop.end().reason
