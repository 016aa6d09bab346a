"""Endpoints really serve: variants, shadows, capture, deployments that bake and roll back, restarts."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .support import ROLE, XGBOOST, Plane, blue_green, client, messages, model_archive, objects, until, variant

ROW = b"0.1,0.2,0.3\n"
FAST = ("--wait-scale", "0.001")


class Account:
    """A control plane with models, and the calls that the tests make of it."""

    def __init__(self, plane: Plane, sagemaker: Any, runtime: Any, bucket: str) -> None:
        self.plane, self.sagemaker, self.runtime, self.bucket = plane, sagemaker, runtime, bucket

    async def config(self, name: str, *production: dict[str, Any], **more: Any) -> None:
        await self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(production), **more)

    async def create(self, name: str, config: str) -> dict[str, Any]:
        await self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return await self.settled(name)

    async def update(self, name: str, config: str, deployment: dict[str, Any] | None = None) -> None:
        more = {"DeploymentConfig": deployment} if deployment else {}
        await self.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **more)

    async def describe(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self.sagemaker.describe_endpoint(EndpointName=name)
        return answer

    async def settled(self, name: str) -> dict[str, Any]:
        """Wait until nothing is being done with an endpoint, and describe it."""
        while (answer := await self.describe(name))["EndpointStatus"] in ("Creating", "Updating"):
            pass
        return answer

    async def invoke(self, name: str, body: bytes = ROW, **more: Any) -> tuple[str, float]:
        """Return which variant answered, and what."""
        answer = await self.runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="text/csv", **more)
        return answer["InvokedProductionVariant"], round(float(await answer["Body"].read()), 2)

    async def failure(self, name: str) -> Any:
        """Invoke; return the error, or None if there was none."""
        try:
            await self.invoke(name)
        except ClientError as exc:
            return exc.response
        return None

    async def until_new_fleet(self) -> None:
        """Wait until a deployment's new fleet serves."""
        await until(lambda: any(fleet == "new" for fleet, _ in self.plane.calls()))


@pytest.fixture
async def start_account(aws: str, start_plane: Callable[..., Plane], s3: Any, bucket: str) -> AsyncIterator[Any]:
    """Start a control plane of this test alone that has models `one`, `two` (answering 0.1 and 0.2) and `wide` (for four columns)."""
    opened: list[Any] = []

    async def start(*options: str) -> Account:
        plane = start_plane(*options)
        contexts = [client("sagemaker", plane.url), client("sagemaker-runtime", plane.url)]
        opened.extend(contexts)
        sagemaker, runtime = [await context.__aenter__() for context in contexts]
        for name, archive in (("one", model_archive(0.1)), ("two", model_archive(0.2)), ("wide", model_archive(0.3, 4))):
            await s3.put_object(Bucket=bucket, Key=f"{name}.tar.gz", Body=archive)
            container = {"Image": XGBOOST, "ModelDataUrl": f"s3://{bucket}/{name}.tar.gz"}
            await sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return Account(plane, sagemaker, runtime, bucket)

    yield start
    for context in opened:
        await context.__aexit__(None, None, None)


async def refused(call: Any) -> str:
    """Return the message of a call that must be refused as invalid."""
    with pytest.raises(ClientError) as caught:
        await call
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    return str(caught.value.response["Error"]["Message"])


async def test_endpoint_takes_time_then_answers_by_weight(start_account: Any) -> None:
    account = await start_account()
    await account.config("half", variant("a", "one", InitialVariantWeight=3.0), variant("b", "two", InitialVariantWeight=1.0))
    await account.sagemaker.create_endpoint(EndpointName="web", EndpointConfigName="half")
    creating = await account.describe("web")
    assert (creating["EndpointStatus"], creating["PendingDeploymentSummary"]["EndpointConfigName"]) == ("Creating", "half")
    assert (await account.settled("web"))["EndpointStatus"] == "InService"
    assert Counter([await account.invoke("web") for _ in range(8)]) == {("a", 0.1): 6, ("b", 0.2): 2}
    assert await account.invoke("web", TargetVariant="b") == ("b", 0.2)


async def test_weights_move_traffic_without_a_new_config(start_account: Any) -> None:
    account = await start_account()
    await account.config("both", variant("a", "one"), variant("b", "two"))
    await account.create("web", "both")
    wishes = [{"VariantName": "a", "DesiredWeight": 0.0}, {"VariantName": "b", "DesiredWeight": 0.9}]
    await account.sagemaker.update_endpoint_weights_and_capacities(EndpointName="web", DesiredWeightsAndCapacities=wishes)
    assert (await account.describe("web"))["EndpointStatus"] == "Updating"
    after = await account.settled("web")
    assert {item["VariantName"]: round(item["CurrentWeight"], 3) for item in after["ProductionVariants"]} == {"a": 0.0, "b": 0.9}
    assert {await account.invoke("web") for _ in range(5)} == {("b", 0.2)}


async def test_shadow_gets_copies_and_its_answers_are_captured_only(start_account: Any, s3: Any) -> None:
    account = await start_account()
    capture = {
        "EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": f"s3://{account.bucket}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
    }  # fmt: skip
    shadows = [variant("copy", "two", InitialVariantWeight=0.5)]
    await account.config("shadowed", variant("main", "one"), ShadowProductionVariants=shadows, DataCaptureConfig=capture)
    await account.create("web", "shadowed")
    assert {await account.invoke("web", InferenceId=f"id-{n}") for n in range(10)} == {("main", 0.1)}
    await until(lambda: account.plane.calls() == {("current", "main"): (10, 0), ("current", "copy"): (5, 0)})
    assert account.plane.stop() == 0  # writes what is left

    found = await objects(s3, account.bucket, "captured/web/")
    lines: dict[str, list[Any]] = {"main": [], "copy": []}
    for key, body in found.items():
        lines[key.split("/")[2]] += [json.loads(line) for line in body.splitlines()]
    assert (len(lines["main"]), len(lines["copy"])) == (10, 5)
    asked = lines["copy"][0]["captureData"]["endpointInput"]
    assert asked == {"observedContentType": "text/csv", "mode": "INPUT", "data": ROW.decode(), "encoding": "CSV"}
    assert {round(float(line["captureData"]["endpointOutput"]["data"]), 2) for line in lines["copy"]} == {0.2}
    ids = {line["eventMetadata"]["inferenceId"]: line["eventMetadata"]["eventId"] for line in lines["main"]}
    assert all(ids[line["eventMetadata"]["inferenceId"]] == line["eventMetadata"]["eventId"] for line in lines["copy"])


async def test_canary_gets_its_share_then_everything(start_account: Any) -> None:
    account = await start_account(*FAST)
    await account.config("old", variant("all", "one"))
    await account.config("new", variant("all", "two"))
    await account.create("web", "old")
    await account.update("web", "new", blue_green("CANARY", wait=1500, CanarySize=20))
    await account.until_new_fleet()
    answers = Counter([(await account.invoke("web"))[1] for _ in range(20)])
    assert answers == {0.1: 16, 0.2: 4}
    baking = await account.describe("web")
    assert (baking["EndpointStatus"], baking["EndpointConfigName"]) == ("Updating", "old")
    assert baking["PendingDeploymentSummary"]["EndpointConfigName"] == "new"
    after = await account.settled("web")
    assert (after["EndpointStatus"], after["EndpointConfigName"], "PendingDeploymentSummary" in after) == ("InService", "new", False)
    assert after["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"] == "CANARY"
    assert await account.invoke("web") == ("all", 0.2)


async def test_errors_of_the_new_fleet_roll_back(start_account: Any) -> None:
    account = await start_account(*FAST)
    await account.config("old", variant("all", "one"))
    await account.config("new", variant("all", "wide"))
    await account.create("web", "old")
    await account.update("web", "new", blue_green("CANARY", wait=3600, CanarySize=50, alarms=("too-many-errors",)))
    await account.until_new_fleet()
    failures = [failure for failure in [await account.failure("web") for _ in range(2)] if failure]
    assert [failure["Error"]["Code"] for failure in failures] == ["ModelError"]
    assert failures[0]["OriginalStatusCode"] == 400
    after = await account.settled("web")
    assert (after["EndpointStatus"], after["EndpointConfigName"], "PendingDeploymentSummary" in after) == ("InService", "old", False)
    assert "too-many-errors" in after["FailureReason"]
    assert {await account.invoke("web") for _ in range(4)} == {("all", 0.1)}


async def test_errors_without_an_alarm_roll_nothing_back(start_account: Any) -> None:
    account = await start_account(*FAST)
    await account.config("old", variant("all", "one"))
    await account.config("new", variant("all", "wide"))
    await account.create("web", "old")
    deployment = blue_green("CANARY", wait=1000, CanarySize=50)
    del deployment["AutoRollbackConfiguration"]
    await account.update("web", "new", deployment)
    await account.until_new_fleet()
    failures = [await account.failure("web") for _ in range(2)]
    assert len([failure for failure in failures if failure]) == 1
    assert (await account.settled("web"))["EndpointConfigName"] == "new"


async def test_scripted_alarm_rolls_back_the_last_linear_step(start_account: Any) -> None:
    account = await start_account(*FAST)
    await account.config("old", variant("all", "one"))
    await account.config("new", variant("all", "two"))
    await account.create("web", "old")
    await account.update("web", "new", blue_green("LINEAR", wait=200, keep=3600, LinearStepSize=50))
    await account.until_new_fleet()
    while Counter([(await account.invoke("web"))[1] for _ in range(4)])[0.2] != 4:
        pass
    account.plane.fault(op="Alarm", message="latency is up")
    after = await account.settled("web")
    assert after["EndpointConfigName"] == "old"
    assert "latency is up" in after["FailureReason"]


async def test_update_to_an_unreadable_model_keeps_the_old(start_account: Any, s3: Any) -> None:
    account = await start_account()
    await account.config("old", variant("all", "one"))
    await account.config("new", variant("all", "two"))
    await account.create("web", "old")
    await s3.put_object(Bucket=account.bucket, Key="two.tar.gz", Body=b"not an archive")
    await account.update("web", "new")
    after = await account.settled("web")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "old")
    assert "two.tar.gz cannot be unpacked" in after["FailureReason"]
    failed = await account.create("other", "new")
    assert failed["EndpointStatus"] == "Failed"
    await account.sagemaker.delete_endpoint(EndpointName="other")


async def test_dead_fleet_answers_errors_and_cannot_be_returned_to(start_account: Any, s3: Any) -> None:
    account = await start_account()
    for config, model in (("old", "one"), ("broken", "two"), ("good", "wide")):
        await account.config(config, variant("all", model))
    await account.create("web", "old")
    os.killpg(int((account.plane.root / "endpoints/web/old/all/pid").read_text()), signal.SIGKILL)
    failure = await account.failure("web")
    assert (failure["Error"]["Code"], failure["OriginalStatusCode"]) == ("ModelError", 503)
    await s3.put_object(Bucket=account.bucket, Key="two.tar.gz", Body=b"not an archive")
    await account.update("web", "broken")
    assert (await account.settled("web"))["EndpointStatus"] == "UpdateRollbackFailed"
    await account.update("web", "good")
    after = await account.settled("web")
    assert (after["EndpointStatus"], after["EndpointConfigName"], "FailureReason" in after) == ("InService", "good", False)


async def test_endpoint_calls_are_refused_as_aws_does(start_account: Any) -> None:
    account = await start_account(*FAST)
    sagemaker = account.sagemaker
    await account.config("old", variant("all", "one"))
    await account.config("new", variant("all", "two"))
    assert "Could not find endpoint " in await refused(account.describe("web"))
    assert "Could not find endpoint configuration" in await refused(account.create("web", "nothing"))
    assert "Could not find model" in await refused(account.config("ghost", variant("all", "ghost")))
    assert "already existing endpoint configuration" in await refused(account.config("old", variant("all", "one")))
    await account.create("web", "old")
    assert "already existing endpoint" in await refused(account.create("web", "old"))
    assert "needs another one" in await refused(account.update("web", "old"))
    assert "over half" in await refused(account.update("web", "new", instances(1)))
    assert "is in use" in await refused(sagemaker.delete_endpoint_config(EndpointConfigName="old"))
    await account.update("web", "new", blue_green("CANARY", wait=1000, CanarySize=10))
    assert "Cannot update in-progress endpoint" in await refused(account.update("web", "new"))
    assert "Cannot update in-progress endpoint" in await refused(sagemaker.delete_endpoint(EndpointName="web"))
    await account.settled("web")
    await sagemaker.delete_endpoint_config(EndpointConfigName="old")
    await sagemaker.delete_endpoint(EndpointName="web")
    await until(lambda: account.plane.calls() == {})
    with pytest.raises(ClientError, match="not found, or not in service"):
        await account.invoke("web")


def instances(count: int) -> dict[str, Any]:
    deployment = blue_green("CANARY", wait=1, CanarySize=10)
    deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["CanarySize"] = {"Type": "INSTANCE_COUNT", "Value": count}
    return deployment


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_restart_serves_again_and_finishes_the_update(start_account: Any, number: int) -> None:
    account = await start_account(*FAST)
    await account.config("old", variant("all", "one"))
    await account.config("new", variant("all", "two"))
    await account.create("web", "old")
    await account.update("web", "new", blue_green("CANARY", wait=1000, CanarySize=10))
    await account.until_new_fleet()
    account.plane.process.send_signal(number)
    assert account.plane.process.wait(timeout=15) == (-9 if number == signal.SIGKILL else 0)
    account.plane.start()
    # New clients: the old ones have connections to a process that is gone.
    async with client("sagemaker", account.plane.url) as sagemaker, client("sagemaker-runtime", account.plane.url) as runtime:
        account = Account(account.plane, sagemaker, runtime, account.bucket)
        assert (await account.settled("web"))["EndpointConfigName"] == "new"
        assert await account.invoke("web") == ("all", 0.2)


async def test_endpoint_state_changes_reach_the_queue(start_account: Any, bucket: str) -> None:
    async with client("sqs") as sqs:
        url = (await sqs.create_queue(QueueName=f"events-{bucket}"))["QueueUrl"]
        account = await start_account("--events-queue-url", url)
        await account.config("old", variant("all", "one"))
        await account.create("web", "old")
        assert account.plane.stop() == 0
        events = await messages(sqs, url)
    assert {event["detail-type"] for event in events} == {"SageMaker Endpoint State Change"}
    assert [event["detail"]["EndpointStatus"] for event in events] == ["CREATING", "IN_SERVICE"]
    assert events[1]["detail"]["EndpointConfigName"] == "old"
