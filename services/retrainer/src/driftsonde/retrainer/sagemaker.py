"""SageMaker through aiobotocore. Names are the lock: a repeat is adopted only when the tags say that it is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from botocore.exceptions import ClientError

from driftsonde.core.aws.session import TRANSPORT_ERRORS, as_retryable, error_code
from driftsonde.core.errors import ConfigError, QuotaReached, RetryableError
from driftsonde.core.ports import EndpointState, JobState, JobStatus
from driftsonde.retrainer import tuning


class _Kind(NamedTuple):
    name: str
    status: str
    arn: str
    create: str
    describe: str
    stop: str | None


KINDS: Final = {
    "training": _Kind(
        "TrainingJobName", "TrainingJobStatus", "TrainingJobArn", "create_training_job", "describe_training_job", "stop_training_job"
    ),
    "processing": _Kind(
        "ProcessingJobName",
        "ProcessingJobStatus",
        "ProcessingJobArn",
        "create_processing_job",
        "describe_processing_job",
        "stop_processing_job",
    ),
    "transform": _Kind(
        "TransformJobName", "TransformJobStatus", "TransformJobArn", "create_transform_job", "describe_transform_job", "stop_transform_job"
    ),
    "tuning": _Kind(
        "HyperParameterTuningJobName",
        "HyperParameterTuningJobStatus",
        "HyperParameterTuningJobArn",
        "create_hyper_parameter_tuning_job",
        "describe_hyper_parameter_tuning_job",
        "stop_hyper_parameter_tuning_job",
    ),
    "model": _Kind("ModelName", "", "ModelArn", "create_model", "describe_model", None),
    "endpoint-config": _Kind("EndpointConfigName", "", "EndpointConfigArn", "create_endpoint_config", "describe_endpoint_config", None),
}

_STATES: Final[dict[str, JobState]] = {
    "InProgress": "running", "Completed": "succeeded", "Failed": "failed", "Stopping": "running", "Stopped": "stopped",
}  # fmt: skip
# Real SageMaker answers ValidationException where a model of that name exists, and for names it does not know.
_EXISTS: Final = frozenset({"ResourceInUse", "ValidationException"})
_UNKNOWN: Final = frozenset({"ResourceNotFound", "ValidationException"})


class SageMaker:
    """Implements `ports.TrainingJobs`, and the model registry beside it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def create(self, kind: str, request: Mapping[str, Any]) -> None:
        """Create a resource; one that exists with our tags is ours already.

        Raises:
            ConfigError: if SageMaker says the request is wrong, or the name belongs to somebody else.
            QuotaReached: if the account may not have more.
            RetryableError: if the answer was lost or SageMaker is away; the next try adopts what was created.
        """
        shape = KINDS[kind]
        try:
            await getattr(self._client, shape.create)(**request)
        except ClientError as exc:
            code = error_code(exc)
            if code in _EXISTS and await self._is_ours(shape, request):
                return
            if code == "ResourceInUse":
                raise ConfigError(f"{request[shape.name]} exists in this account and is not ours; change `deployment`") from exc
            if code == "ResourceLimitExceeded":
                raise QuotaReached(f"SageMaker: {code}", retry_after=3600.0) from exc
            if code == "ValidationException":
                raise ConfigError(f"SageMaker refuses the {kind} request: {exc}") from exc
            raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc

    async def _is_ours(self, shape: _Kind, request: Mapping[str, Any]) -> bool:
        try:
            found = await getattr(self._client, shape.describe)(**{shape.name: request[shape.name]})
            tags = await self._client.list_tags(ResourceArn=found[shape.arn])
        except ClientError as exc:
            if error_code(exc) in _UNKNOWN:
                return False
            raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc
        theirs = {tag["Key"]: tag["Value"] for tag in tags.get("Tags", [])}
        return all(theirs.get(tag["Key"]) == tag["Value"] for tag in request["Tags"])

    async def status(self, kind: str, name: str) -> JobStatus:
        """Describe a job; `unknown` if there is none of that name."""
        shape = KINDS[kind]
        try:
            answer = await getattr(self._client, shape.describe)(**{shape.name: name})
            if kind == "tuning":
                return await tuning.outcome(self._client, answer, _STATES.get(answer[shape.status], "running"))
        except ClientError as exc:
            if error_code(exc) in _UNKNOWN:
                return JobStatus("unknown", f"SageMaker knows no such job: {exc}")
            raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc
        metrics = {item["MetricName"]: float(item["Value"]) for item in answer.get("FinalMetricDataList", [])}
        return JobStatus(
            _STATES.get(answer[shape.status], "running"),
            answer.get("FailureReason") or answer.get("ExitMessage") or answer.get("SecondaryStatus") or "",
            metrics or None, (answer.get("ModelArtifacts") or {}).get("S3ModelArtifacts"), _seconds(answer),
        )  # fmt: skip

    async def stop(self, kind: str, name: str) -> None:
        """Ask a job to stop; one that is over or unknown is left alone."""
        shape = KINDS[kind]
        try:
            await getattr(self._client, str(shape.stop))(**{shape.name: name})
        except ClientError as exc:
            if error_code(exc) not in _UNKNOWN:
                raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc

    async def judge(self, package: str, status: Literal["Approved", "Rejected"], reason: str) -> None:
        """Change whether a model package may be deployed; one that is gone is left alone."""
        try:
            await self._client.update_model_package(ModelPackageArn=package, ModelApprovalStatus=status, ApprovalDescription=reason[:1024])
        except ClientError as exc:
            if error_code(exc) not in _UNKNOWN:
                raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc

    async def register(self, group: str, request: Mapping[str, Any]) -> str:
        """Create a model package, and its group if need be; returns its ARN. The client token makes a repeat harmless."""
        try:
            await self._client.create_model_package_group(ModelPackageGroupName=group)
        except ClientError as exc:
            if error_code(exc) not in _EXISTS:
                raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc
        answer = await self._call(self._client.create_model_package(**request))
        return str(answer["ModelPackageArn"])

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except ClientError as exc:
            raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc


class SageMakerEndpoints:
    """Implements `ports.Endpoints`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def state(self, name: str) -> EndpointState | None:
        """Describe an endpoint; None if there is none of that name."""
        try:
            answer = await self._client.describe_endpoint(EndpointName=name)
        except ClientError as exc:
            if error_code(exc) in _UNKNOWN:
                return None
            raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc
        variants = answer.get("ProductionVariants", [])
        return EndpointState(
            answer["EndpointStatus"], answer.get("EndpointConfigName", ""),
            (answer.get("PendingDeploymentSummary") or {}).get("EndpointConfigName"), answer.get("FailureReason", ""),
            {variant["VariantName"]: float(variant.get("CurrentWeight", 0.0)) for variant in variants},
        )  # fmt: skip

    async def config(self, name: str) -> Mapping[str, Any]:
        """Return an endpoint configuration in the shape that CreateEndpointConfig takes."""
        answer = await self._call(self._client.describe_endpoint_config(EndpointConfigName=name), f"the endpoint configuration {name}")
        return {key: value for key, value in answer.items() if key not in ("ResponseMetadata", "EndpointConfigArn", "CreationTime")}

    async def point(self, endpoint: str, config: str, guard: Mapping[str, Any] | None, tags: Sequence[Mapping[str, str]]) -> None:
        """Have an endpoint take a configuration; one that has it, or is on its way to it, is left alone.

        Raises:
            ConfigError: if SageMaker says that it cannot be.
            QuotaReached: if the account may not have more instances.
            RetryableError: if the answer was lost, SageMaker is away, or something else is being done with the endpoint.
        """
        state = await self.state(endpoint)
        if state is not None and config in (state.config, state.pending):
            return
        if state is not None and state.busy:
            raise RetryableError(f"the endpoint {endpoint} is {state.status}", retry_after=30.0)
        wanted: dict[str, Any] = {"EndpointName": endpoint, "EndpointConfigName": config}
        more = {"DeploymentConfig": guard} if guard else {}
        if state is None:
            await self._call(self._client.create_endpoint(**wanted, Tags=list(tags)), f"the endpoint {endpoint}")
        else:
            await self._call(self._client.update_endpoint(**wanted, **more), f"the update of endpoint {endpoint}")

    async def weigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        """Give variants other weights."""
        wishes = [{"VariantName": name, "DesiredWeight": weight} for name, weight in weights.items()]
        call = self._client.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=wishes)
        await self._call(call, f"the weights of endpoint {endpoint}")

    async def _call(self, call: Any, what: str) -> Any:
        try:
            return await call
        except ClientError as exc:
            code = error_code(exc)
            if code == "ResourceLimitExceeded":
                raise QuotaReached(f"SageMaker: {code}", retry_after=3600.0) from exc
            if code in _UNKNOWN:
                raise ConfigError(f"SageMaker refuses {what}: {exc}") from exc
            raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc


def _seconds(answer: Mapping[str, Any]) -> float | None:
    start = answer.get("TrainingStartTime") or answer.get("ProcessingStartTime") or answer.get("TransformStartTime")
    end = answer.get("TrainingEndTime") or answer.get("ProcessingEndTime") or answer.get("TransformEndTime")
    if isinstance(start, datetime) and isinstance(end, datetime):
        return (end - start).total_seconds()
    return None


def default_image(region: str) -> str:
    """Return the URI of SageMaker's built-in XGBoost in a region.

    Raises:
        ConfigError: if the SageMaker SDK is not installed; then the recipe must name its image.
    """
    try:
        from sagemaker.core import image_uris
    except ModuleNotFoundError as exc:
        raise ConfigError("training.image: not set, and the SageMaker SDK that knows the default is not installed; "
                          "set it, or pip install driftsonde-retrainer[sagemaker]") from exc  # fmt: skip
    return str(image_uris.retrieve("xgboost", region, "1.7-1"))
