"""What each call of SageMaker's API does: checked request in, answer out."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable

from driftsonde.core.local.sagemaker.account import GROUP, MODEL, PACKAGE, Account
from driftsonde.core.local.sagemaker.endpoints import EndpointCalls
from driftsonde.core.local.sagemaker.kinds import ACTIVE, KINDS, TRANSFORM, JobKind, Json
from driftsonde.core.local.sagemaker.paging import page
from driftsonde.core.local.sagemaker.pipelines import Pipelines
from driftsonde.core.local.sagemaker.progress import Progress
from driftsonde.core.local.sagemaker.registry import Registry, Resource, describe
from driftsonde.core.local.sagemaker.rules import AwsError, check, project
from driftsonde.core.local.sagemaker.runner import Runner
from driftsonde.core.local.sagemaker.settings import Settings
from driftsonde.core.local.sagemaker.tuning import Tuner

_CREATOR = {"UserProfileName": "local"}


class Operations:
    """The account's resources as the API shows and changes them."""

    def __init__(
        self, settings: Settings, registry: Registry, progress: Progress, runner: Runner, tuner: Tuner, endpoints: EndpointCalls,
        pipelines: Pipelines,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._account = Account(settings, registry)
        self._registry = registry
        self._progress = progress
        self._runner = runner
        self._calls: dict[str, Callable[[Json], Json]] = {
            "CreateModel": self._create_model,
            "DescribeModel": self._describe_model,
            "DeleteModel": self._delete_model,
            "CreateModelPackageGroup": self._create_group,
            "DescribeModelPackageGroup": self._describe_group,
            "CreateModelPackage": self._create_package,
            "DescribeModelPackage": self._describe_package,
            "UpdateModelPackage": self._update_package,
            "ListModelPackages": self._list_packages,
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            **endpoints.calls,
            **pipelines.calls,
        }
        for kind in KINDS.values():
            self._calls[f"Create{kind.title}Job"] = functools.partial(self._create_job, kind)
            self._calls[f"Describe{kind.title}Job"] = functools.partial(self._describe_job, kind)
            self._calls[f"Stop{kind.title}Job"] = functools.partial(self._stop_job, kind)
            self._calls[f"List{kind.title}Jobs"] = functools.partial(self._list_jobs, kind)
        self._calls |= tuner.calls  # a tuning job is found and described as the others, and done in its own way

    def call(self, operation: str, request: Json) -> Json:
        """Check a request and do what it asks.

        Raises:
            AwsError: with the code that AWS would answer.
        """
        if operation not in self._calls:
            raise AwsError("UnknownOperationException", f"local SageMaker has no {operation!r}; it has {', '.join(sorted(self._calls))}")
        check(operation, request)
        return self._calls[operation](request)

    def jobs(self) -> list[Json]:
        """Return name, kind and status of every job: what the outside can verify without AWS's protocol."""
        return [{"name": job.name, "kind": job.kind, "status": job.status} for job in self._registry.jobs()]

    def _create_job(self, kind: JobKind, request: Json) -> Json:
        name = request[kind.key("Name")]
        taken = self._registry.get(kind.name, name)
        if taken is not None:
            raise AwsError("ResourceInUse", f"Job name must be unique within an AWS account and region, and {taken.arn} already exists")
        active = sum(job.kind == kind.name for job in self._registry.unfinished())
        if active >= self._settings.max_active_jobs:
            raise AwsError("ResourceLimitExceeded", f"{active} {kind.name} jobs are active, which is this account's limit")
        rest: Json = {"Container": self._account.container(request["ModelName"])} if kind is TRANSFORM else {}
        job = self._account.store(kind.name, name, request, status="InProgress", **rest)
        self._progress.phase(kind, name, "Starting")
        if not kind.phased:
            self._progress.created(kind, job)
        self._runner.submit(kind, name)
        return {kind.key("Arn"): job.arn}

    def _describe_job(self, kind: JobKind, request: Json) -> Json:
        return describe(kind, self._account.find(kind.name, request[kind.key("Name")]))

    def _stop_job(self, kind: JobKind, request: Json) -> Json:
        job = self._account.find(kind.name, request[kind.key("Name")])
        if job.status == "InProgress":
            self._runner.stop(kind, job.name)
        elif job.status not in ACTIVE:
            raise AwsError("ValidationException", f"The request was rejected because the {kind.name} job is in status {job.status}.")
        return {}

    def _list_jobs(self, kind: JobKind, request: Json) -> Json:
        found = [job for job in self._registry.all_of(kind.name) if request.get("StatusEquals", job.status) == job.status]
        return page(kind.key("Summaries"), request, found, lambda job: describe(kind, job))

    def _create_model(self, request: Json) -> Json:
        for container in [request["PrimaryContainer"]] if "PrimaryContainer" in request else request["Containers"]:
            if "ModelPackageName" in container:
                package = self._account.find(PACKAGE, container["ModelPackageName"])
                if package.body.get("ModelApprovalStatus") != "Approved":
                    raise AwsError("ValidationException", f"{package.arn} is not approved; only an Approved model package can be deployed")
        return {"ModelArn": self._account.store(MODEL, request["ModelName"], request, status="InService").arn}

    def _describe_model(self, request: Json) -> Json:
        model = self._account.find(MODEL, request["ModelName"])
        return project("DescribeModel", {**model.body, "ModelArn": model.arn, "CreationTime": model.created})

    def _delete_model(self, request: Json) -> Json:
        self._registry.delete(MODEL, self._account.find(MODEL, request["ModelName"]).name)
        return {}

    def _create_group(self, request: Json) -> Json:
        return {"ModelPackageGroupArn": self._account.store(GROUP, request["ModelPackageGroupName"], request, status="Completed").arn}

    def _describe_group(self, request: Json) -> Json:
        group = self._account.find(GROUP, request["ModelPackageGroupName"])
        known = {"ModelPackageGroupArn": group.arn, "ModelPackageGroupStatus": group.status}
        body = {**group.body, **known, "CreationTime": group.created, "CreatedBy": _CREATOR}
        return project("DescribeModelPackageGroup", body)

    def _create_package(self, request: Json) -> Json:
        token = request.get("ClientToken")
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        made = self._registry.by_token(PACKAGE, token) if token else None
        if made is not None:
            if made.digest != digest:
                raise AwsError("ConflictException", f"ClientToken {token} was used for another request, which made {made.arn}")
            return {"ModelPackageArn": made.arn}
        group = request["ModelPackageGroupName"].rpartition("/")[2]
        if self._registry.get(GROUP, group) is None:
            raise AwsError("ValidationException", f"ModelPackageGroup {self._account.arn(GROUP, group)} does not exist")
        version = 1 + len(self._packages(group))  # versions are never deleted
        package = self._account.store(
            PACKAGE, f"{group}/{version}", request, status="Completed", token=token, digest=digest,
            ModelPackageGroupName=group,
            ModelPackageVersion=version,
            ModelApprovalStatus=request.get("ModelApprovalStatus", "PendingManualApproval"),
        )  # fmt: skip
        return {"ModelPackageArn": package.arn}

    def _packages(self, group: str) -> list[Resource]:
        return [package for package in self._registry.all_of(PACKAGE) if package.body["ModelPackageGroupName"] == group]

    def _describe_package(self, request: Json) -> Json:
        return project("DescribeModelPackage", _package(self._account.find(PACKAGE, request["ModelPackageName"])))

    def _update_package(self, request: Json) -> Json:
        package = self._account.find(PACKAGE, request["ModelPackageArn"])
        properties = {**package.body.get("CustomerMetadataProperties", {}), **request.get("CustomerMetadataProperties", {})}
        for key in request.get("CustomerMetadataPropertiesToRemove", []):
            properties.pop(key, None)
        fields: Json = {key: request[key] for key in ("ModelApprovalStatus", "ApprovalDescription") if key in request}
        self._registry.update(PACKAGE, package.name, {**fields, "CustomerMetadataProperties": properties or None})
        return {"ModelPackageArn": package.arn}

    def _list_packages(self, request: Json) -> Json:
        group = request.get("ModelPackageGroupName", "").rpartition("/")[2]
        wanted = request.get("ModelApprovalStatus")
        found = self._packages(group) if group else self._registry.all_of(PACKAGE)
        found = [package for package in found if wanted in (None, package.body["ModelApprovalStatus"])]
        return page("ModelPackageSummaryList", request, found, _package)

    def _add_tags(self, request: Json) -> Json:
        arn = request["ResourceArn"]
        if self._registry.by_arn(arn) is None:
            raise AwsError("ResourceNotFound", f"Requested resource not found: {arn}")
        self._registry.tag(arn, request["Tags"])
        return self._list_tags(request)

    def _list_tags(self, request: Json) -> Json:
        arn = request["ResourceArn"]
        if self._registry.by_arn(arn) is None:
            raise AwsError("ResourceNotFound", f"Requested resource not found: {arn}")
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._registry.tags(arn).items()]}


def _package(package: Resource) -> Json:
    return {
        **package.body,
        "ModelPackageName": package.name,
        "ModelPackageArn": package.arn,
        "ModelPackageStatus": package.status,
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CreationTime": package.created,
        "LastModifiedTime": package.modified,
        "CreatedBy": _CREATOR,
    }
