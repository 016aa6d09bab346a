"""What SageMaker accepts: pure checks of requests, and the errors that answer the others.

Shapes, lengths, patterns and closed lists come from botocore's own model of the service. Added to it: limits that AWS
documents but the model leaves out, rules between fields, and what this machine cannot do.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from driftsonde.core.local.sagemaker import rollout, search
from driftsonde.core.local.sagemaker.columns import parse_filter
from driftsonde.core.local.sagemaker.kinds import is_xgboost

DAY: Final = 86_400

# By shape name: limits of AWS's documentation that are tighter than the model, or missing there.
DOCUMENTED_MAX: Final = {"HyperParameterValue": 256, "MaxRuntimeInSeconds": 28 * DAY, "MaxPayloadInMB": 100}

_SERVER_SIDE: Final = frozenset({"InternalFailure", "InternalServerError", "ServiceUnavailable"})


class AwsError(Exception):
    """An answer that botocore raises as `ClientError`.

    Args:
        code: AWS's code, such as `ValidationException`, `ResourceInUse`, `ResourceNotFound`, `ThrottlingException`.
        message: what was wrong, for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The status of the HTTP answer."""
        return 500 if self.code in _SERVER_SIDE else 400


@functools.cache
def service() -> ServiceModel:
    """Return botocore's model of SageMaker; half a second the first time."""
    return ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


def check(operation: str, request: Mapping[str, Any]) -> None:
    """Check a request against everything SageMaker would refuse by looking at it alone.

    Raises:
        AwsError: `ValidationException`, naming every field that is wrong.
    """
    shape: Any = service().operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    # The further rules may rely on fields being there and of their type.
    problems = report.generate_report().split("\n") if report.has_errors() else [*_limits(request, shape, "")]
    if not problems and operation in _RULES:
        problems = [*_RULES[operation](request)]
    if problems:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected"
        raise AwsError("ValidationException", f"{count}: {'; '.join(problems)}")


def project(operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `body` that the operation's answer has."""
    shape: Any = service().operation_model(operation).output_shape
    return {key: body[key] for key in shape.members if key in body}


@functools.cache
def _pattern(text: str) -> re.Pattern[str] | None:
    """Compile a pattern of the model; Java's character classes are unknown to `re`, and such patterns stay unchecked."""
    try:
        return re.compile(text)
    except re.error:
        return None


def _limits(value: Any, shape: Any, path: str) -> Iterator[str]:
    """Walk a value along its shape; yield what is too long, too many, not in the list or not of the pattern."""
    most = DOCUMENTED_MAX.get(shape.name, shape.metadata.get("max"))
    size = value if shape.type_name in ("integer", "long", "float", "double") else len(value) if hasattr(value, "__len__") else 0
    if most is not None and size > most:
        yield f"{path} must be at most {most}, is {size}"
    if shape.type_name == "string":
        pattern = _pattern(shape.metadata["pattern"]) if "pattern" in shape.metadata else None
        if pattern and not pattern.fullmatch(value):
            yield f"{path} must match {pattern.pattern}, is {value[:80]!r}"
        if shape.enum and value not in shape.enum:
            allowed = f"one of {', '.join(shape.enum)}" if len(shape.enum) <= 12 else f"a {shape.name}"
            yield f"{path} must be {allowed}, is {value[:80]!r}"
    elif shape.type_name == "structure":
        for key, member in shape.members.items():
            if key in value:
                yield from _limits(value[key], member, f"{path}.{key}".lstrip("."))
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from _limits(item, shape.member, f"{path}[{index}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _limits(key, shape.key, f"{path} key")
            yield from _limits(item, shape.value, f"{path}.{key[:80]}")


def _unique(items: list[Mapping[str, Any]], field: str, what: str) -> Iterator[str]:
    names = [item[field] for item in items if field in item]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{what} {name!r} is given twice"


def _training(request: Mapping[str, Any]) -> Iterator[str]:
    for field in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        if field not in request:
            yield f"{field} is required"
    algorithm = request.get("AlgorithmSpecification", {})
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        yield "AlgorithmSpecification needs exactly one of TrainingImage and AlgorithmName"
    if "AlgorithmName" in algorithm:
        yield "AlgorithmSpecification.AlgorithmName is not supported locally; give a TrainingImage"
    if algorithm.get("TrainingInputMode") == "Pipe":
        yield "TrainingInputMode Pipe is not supported locally; use File (FastFile is treated as File)"
    stopping = request.get("StoppingCondition", {})
    if request.get("EnableManagedSpotTraining") and stopping.get("MaxWaitTimeInSeconds", 0) < stopping.get("MaxRuntimeInSeconds", DAY):
        yield "managed spot training needs a MaxWaitTimeInSeconds of at least MaxRuntimeInSeconds"
    channels = request.get("InputDataConfig", [])
    yield from _unique(channels, "ChannelName", "channel")
    for channel in channels:
        if channel["ChannelName"] in (".", ".."):
            yield f"channel {channel['ChannelName']!r} cannot be a directory name"
        if channel.get("CompressionType", "None") != "None":
            yield f"channel {channel['ChannelName']!r}: CompressionType {channel['CompressionType']} works with Pipe mode only"
        yield from _s3_type(channel["DataSource"], f"channel {channel['ChannelName']!r}")


def _tuning(request: Mapping[str, Any]) -> Iterator[str]:
    yield from search.problems(request, built_in=is_xgboost)
    if "TrainingJobDefinition" in request:
        yield from (f"TrainingJobDefinition: {problem}" for problem in _training(request["TrainingJobDefinition"]))


def _s3_type(source: Mapping[str, Any], where: str) -> Iterator[str]:
    kind = source.get("S3DataSource", {}).get("S3DataType")
    if kind not in ("S3Prefix", "ManifestFile"):
        yield f"{where}: only an S3DataSource of type S3Prefix or ManifestFile is supported locally"


def _local_path(path: str | None, where: str) -> Iterator[str]:
    if path is None or not path.startswith("/opt/ml/processing/") or ".." in path.split("/"):
        yield f"{where}: LocalPath must be a directory under /opt/ml/processing/, is {path!r}"


def _processing(request: Mapping[str, Any]) -> Iterator[str]:
    inputs = request.get("ProcessingInputs", [])
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    yield from _unique(inputs, "InputName", "input")
    yield from _unique(outputs, "OutputName", "output")
    for item in inputs:
        where = f"input {item['InputName']!r}"
        if "S3Input" not in item:
            yield f"{where}: only S3Input is supported locally"
            continue
        yield from _s3_type({"S3DataSource": item["S3Input"]}, where)
        yield from _local_path(item["S3Input"].get("LocalPath"), where)
    for item in outputs:
        where = f"output {item['OutputName']!r}"
        if "S3Output" not in item:
            yield f"{where}: only S3Output is supported locally"
            continue
        if item["S3Output"]["S3UploadMode"] != "EndOfJob":
            yield f"{where}: S3UploadMode Continuous is not supported locally; use EndOfJob"
        yield from _local_path(item["S3Output"].get("LocalPath"), where)


def _transform(request: Mapping[str, Any]) -> Iterator[str]:
    source, output, data = request["TransformInput"], request["TransformOutput"], request.get("DataProcessing", {})
    split = source.get("SplitType", "None")
    yield from _s3_type(source["DataSource"], "TransformInput")
    if split not in ("None", "Line"):
        yield f"SplitType {split} is not supported locally; use Line or None"
    if request.get("BatchStrategy") == "MultiRecord" and split == "None":
        yield "BatchStrategy MultiRecord needs a SplitType"
    if request.get("MaxPayloadInMB", 6) * max(request.get("MaxConcurrentTransforms", 1), 1) > DOCUMENTED_MAX["MaxPayloadInMB"]:
        yield "MaxPayloadInMB times MaxConcurrentTransforms must be at most 100"
    for field in ("InputFilter", "OutputFilter"):
        try:
            parse_filter(data.get(field, "$"))
        except ValueError as exc:
            yield f"DataProcessing.{field}: {exc}"
    if data and source.get("ContentType", "").partition(";")[0] != "text/csv":
        yield "DataProcessing is supported locally for ContentType text/csv only"
    if data and (split != "Line" or output.get("AssembleWith") != "Line"):
        yield "DataProcessing needs SplitType Line and AssembleWith Line"


def _model(request: Mapping[str, Any]) -> Iterator[str]:
    if ("PrimaryContainer" in request) == ("Containers" in request):
        yield "give exactly one of PrimaryContainer and Containers"
    if "ExecutionRoleArn" not in request:
        yield "ExecutionRoleArn is required"
    for container in [request["PrimaryContainer"]] if "PrimaryContainer" in request else request.get("Containers", []):
        if ("Image" in container) == ("ModelPackageName" in container):
            yield "a container needs exactly one of Image and ModelPackageName"


def _package(request: Mapping[str, Any]) -> Iterator[str]:
    if "ModelPackageGroupName" not in request:
        yield "ModelPackageGroupName is required; unversioned packages are not supported locally"
    if "ModelPackageName" in request:
        yield "ModelPackageName and ModelPackageGroupName exclude each other"


def _endpoint_config(request: Mapping[str, Any]) -> Iterator[str]:
    production, shadow = request["ProductionVariants"], request.get("ShadowProductionVariants", [])
    yield from _unique([*production, *shadow], "VariantName", "variant")
    if shadow and (len(production), len(shadow)) != (1, 1):
        yield "a shadow variant needs exactly one production variant, and is the only one"
    for variant in (*production, *shadow):
        for field in ("ModelName", "InitialInstanceCount", "InstanceType"):
            if field not in variant:
                yield f"variant {variant['VariantName']!r}: {field} is required (serverless and inference components are not supported locally)"
    if sum(variant.get("InitialVariantWeight", 1.0) for variant in production) <= 0:
        yield "the weights of the production variants must not all be zero"
    for field in ("AsyncInferenceConfig", "ExplainerConfig"):
        if field in request:
            yield f"{field} is not supported locally"


def _endpoint(request: Mapping[str, Any]) -> Iterator[str]:
    if "DeploymentConfig" in request:
        yield from rollout.problems(request["DeploymentConfig"])
    for field in ("RetainAllVariantProperties", "RetainDeploymentConfig"):
        if request.get(field):
            yield f"{field} is not supported locally"


def _weights(request: Mapping[str, Any]) -> Iterator[str]:
    yield from _unique(request["DesiredWeightsAndCapacities"], "VariantName", "variant")


_RULES: Final[dict[str, Callable[[Mapping[str, Any]], Iterator[str]]]] = {
    "CreateTrainingJob": _training,
    "CreateHyperParameterTuningJob": _tuning,
    "CreateProcessingJob": _processing,
    "CreateTransformJob": _transform,
    "CreateModel": _model,
    "CreateModelPackage": _package,
    "CreateEndpointConfig": _endpoint_config,
    "CreateEndpoint": _endpoint,
    "UpdateEndpoint": _endpoint,
    "UpdateEndpointWeightsAndCapacities": _weights,
}
