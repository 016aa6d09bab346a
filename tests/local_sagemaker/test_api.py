"""What the API accepts, refuses and remembers."""

from __future__ import annotations

import asyncio
import uuid
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError, HTTPClientError

from .support import ROLE, XGBOOST, Plane, client, ended, own_command, processing, training, until


async def refused(call: Any) -> tuple[str, str]:
    """Return code and message of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        await call
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


async def test_identical_duplicate_job_name_is_refused(sagemaker: Any, bucket: str) -> None:
    request = own_command("twice", bucket, "pass")
    await sagemaker.create_training_job(**request)
    code, message = await refused(sagemaker.create_training_job(**request))
    assert code == "ResourceInUse"
    assert "already exists" in message


async def test_ended_job_still_holds_its_name(plane: Plane, sagemaker: Any, bucket: str) -> None:
    request = own_command("once", bucket, "pass")
    await sagemaker.create_training_job(**request)
    assert await ended(plane, "once") == "Completed"
    assert (await refused(sagemaker.create_training_job(**request)))[0] == "ResourceInUse"


@pytest.mark.parametrize("kind", ["training", "processing", "transform"])
async def test_describing_unknown_job_answers_not_found(sagemaker: Any, kind: str) -> None:
    call = getattr(sagemaker, f"describe_{kind}_job")
    assert (await refused(call(**{f"{kind.title()}JobName": "nobody"})))[0] == "ResourceNotFound"


async def test_bad_name_and_hyperparameter_are_both_named(plane: Plane, sagemaker: Any) -> None:
    request = training("under_score", "some-bucket", HyperParameters={"num_round": "1" * 257})
    code, message = await refused(sagemaker.create_training_job(**request))
    assert code == "ValidationException"
    assert "2 validation errors detected: TrainingJobName must match" in message
    assert "HyperParameters.num_round must be at most 256, is 257" in message
    assert "under_score" not in plane.jobs()


async def test_processing_paths_outside_their_root_are_refused(sagemaker: Any, bucket: str) -> None:
    request = processing("escape", bucket, "pass")
    request["ProcessingInputs"][0]["S3Input"]["LocalPath"] = "/opt/ml/processing/../../etc"
    code, message = await refused(sagemaker.create_processing_job(**request))
    assert (code, "LocalPath" in message) == ("ValidationException", True)


async def test_throttled_call_leaves_no_job_behind(plane: Plane, sagemaker: Any, bucket: str) -> None:
    plane.fault(op="CreateTrainingJob", times=2, code="ThrottlingException")
    request = own_command("throttled", bucket, "pass")
    for _ in range(2):
        assert (await refused(sagemaker.create_training_job(**request)))[0] == "ThrottlingException"
        assert "throttled" not in plane.jobs()
    await sagemaker.create_training_job(**request)
    assert await ended(plane, "throttled") == "Completed"


async def test_lost_answer_leaves_the_job_created(plane: Plane, sagemaker: Any, bucket: str) -> None:
    plane.fault(op="CreateTrainingJob", code="ConnectionDrop", after=True)
    request = own_command("lost-answer", bucket, "pass")
    with pytest.raises(HTTPClientError):
        await sagemaker.create_training_job(**request)
    assert "lost-answer" in plane.jobs()
    assert (await refused(sagemaker.create_training_job(**request)))[0] == "ResourceInUse"


async def test_error_after_the_work_hides_success(plane: Plane, sagemaker: Any, bucket: str) -> None:
    plane.fault(op="CreateTrainingJob", code="InternalFailure", after=True)
    assert (await refused(sagemaker.create_training_job(**own_command("hidden", bucket, "pass"))))[0] == "InternalFailure"
    assert "hidden" in plane.jobs()


async def test_quota_of_active_jobs_is_enforced(aws: str, start_plane: Any, bucket: str) -> None:
    plane = start_plane("--max-active-jobs", "1")
    async with client("sagemaker", plane.url) as sagemaker:
        await sagemaker.create_training_job(**own_command("first", bucket, "import time; time.sleep(30)"))
        code, _ = await refused(sagemaker.create_training_job(**own_command("second", bucket, "pass")))
        assert code == "ResourceLimitExceeded"


async def test_tags_are_kept_and_replaced_by_key(sagemaker: Any, bucket: str) -> None:
    request = own_command("tagged", bucket, "pass", Tags=[{"Key": "plan", "Value": "1"}])
    arn = (await sagemaker.create_training_job(**request))["TrainingJobArn"]
    await sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "plan", "Value": "2"}, {"Key": "step", "Value": "train"}])
    assert (await sagemaker.list_tags(ResourceArn=arn))["Tags"] == [{"Key": "plan", "Value": "2"}, {"Key": "step", "Value": "train"}]


async def test_listing_filters_and_pages(sagemaker: Any, bucket: str) -> None:
    for number in range(3):
        await sagemaker.create_training_job(**own_command(f"listed-{number}", bucket, "pass"))
    await sagemaker.create_training_job(**own_command("other", bucket, "pass"))
    first = await sagemaker.list_training_jobs(NameContains="listed", MaxResults=2, SortBy="Name", SortOrder="Ascending")
    second = await sagemaker.list_training_jobs(
        NameContains="listed", MaxResults=2, SortBy="Name", SortOrder="Ascending", NextToken=first["NextToken"]
    )
    names = [job["TrainingJobName"] for page in (first, second) for job in page["TrainingJobSummaries"]]
    assert names == ["listed-0", "listed-1", "listed-2"]


def package(group: str, **changes: Any) -> dict[str, Any]:
    """Return a request for a model package."""
    containers = [{"Image": XGBOOST, "ModelDataUrl": "s3://models/m/model.tar.gz"}]
    specification = {"Containers": containers, "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]}
    request = {"ModelPackageGroupName": group, "InferenceSpecification": specification, "ModelApprovalStatus": "PendingManualApproval"}
    return {**request, **changes}


async def test_client_token_makes_one_package_only(sagemaker: Any) -> None:
    await sagemaker.create_model_package_group(ModelPackageGroupName="champions")
    token = str(uuid.uuid4())
    arns = [(await sagemaker.create_model_package(**package("champions", ClientToken=token)))["ModelPackageArn"] for _ in range(2)]
    assert arns == ["arn:aws:sagemaker:us-east-1:000000000000:model-package/champions/1"] * 2
    other = await sagemaker.create_model_package(**package("champions", ClientToken=str(uuid.uuid4())))
    assert other["ModelPackageArn"].endswith("/champions/2")
    assert len((await sagemaker.list_model_packages(ModelPackageGroupName="champions"))["ModelPackageSummaryList"]) == 2


async def test_client_token_of_another_request_conflicts(sagemaker: Any) -> None:
    await sagemaker.create_model_package_group(ModelPackageGroupName="rivals")
    await sagemaker.create_model_package(**package("rivals", ClientToken="one"))
    changed = package("rivals", ClientToken="one", ModelApprovalStatus="Approved")
    assert (await refused(sagemaker.create_model_package(**changed)))[0] == "ConflictException"


async def test_package_of_unknown_group_is_refused(sagemaker: Any) -> None:
    code, message = await refused(sagemaker.create_model_package(**package("nowhere")))
    assert (code, "does not exist" in message) == ("ValidationException", True)


async def test_only_approved_packages_become_models(sagemaker: Any) -> None:
    await sagemaker.create_model_package_group(ModelPackageGroupName="gated")
    arn = (await sagemaker.create_model_package(**package("gated")))["ModelPackageArn"]
    model = {"ModelName": "from-package", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"ModelPackageName": arn}}
    assert (await refused(sagemaker.create_model(**model)))[0] == "ValidationException"
    await sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    assert (await sagemaker.describe_model_package(ModelPackageName=arn))["ModelApprovalStatus"] == "Approved"
    await sagemaker.create_model(**model)
    assert (await refused(sagemaker.create_model(**model)))[0] == "ResourceInUse"
    await sagemaker.delete_model(ModelName="from-package")
    assert (await refused(sagemaker.describe_model(ModelName="from-package")))[0] == "ResourceNotFound"


async def test_second_control_plane_on_a_root_refuses(plane: Plane) -> None:
    second = Plane(plane.root, plane.emulator)
    with pytest.raises(AssertionError, match="ended with 78"):
        await asyncio.to_thread(second.start)


async def test_states_take_time_and_are_recorded(plane: Plane, sagemaker: Any, bucket: str) -> None:
    await sagemaker.create_training_job(**own_command("states", bucket, "pass"))
    job = await sagemaker.describe_training_job(TrainingJobName="states")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("InProgress", "Starting")
    await until(lambda: plane.jobs()["states"] == "Completed")
    job = await sagemaker.describe_training_job(TrainingJobName="states")
    steps = job["SecondaryStatusTransitions"]
    assert [step["Status"] for step in steps] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(before["EndTime"] <= after["StartTime"] for before, after in pairwise(steps))
    assert job["TrainingEndTime"] > job["TrainingStartTime"] >= job["CreationTime"]
