"""An endpoint as its Describe call answers, from what the registry holds of it. Pure."""

from __future__ import annotations

from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.registry import Resource
from driftsonde.core.local.sagemaker.rules import project

_SUMMARY = ("VariantName", "CurrentWeight", "DesiredWeight", "CurrentInstanceCount", "DesiredInstanceCount")


def describe_endpoint(endpoint: Resource) -> Json:
    """Return an endpoint as DescribeEndpoint answers, times in epoch seconds."""
    fleet, pending = endpoint.body["Fleet"], endpoint.body.get("Pending")
    body: Json = {
        **endpoint.body, **_variants(fleet, endpoint.created, None),
        "EndpointName": endpoint.name, "EndpointArn": endpoint.arn, "EndpointStatus": endpoint.status,
        "CreationTime": endpoint.created, "LastModifiedTime": endpoint.modified,
    }  # fmt: skip
    capture = fleet.get("DataCaptureConfig")
    if capture:
        body["DataCaptureConfig"] = {
            "EnableCapture": capture.get("EnableCapture", True), "CaptureStatus": "Started",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"], "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }  # fmt: skip
    if endpoint.status == "Creating":
        del body["ProductionVariants"]
        body.pop("ShadowProductionVariants", None)
        pending = {"Fleet": fleet, "StartTime": endpoint.created}
    if pending:
        waiting = _variants(pending["Fleet"], pending["StartTime"], "Creating" if endpoint.status == "Creating" else "Baking")
        name = pending["Fleet"]["EndpointConfigName"]
        body["PendingDeploymentSummary"] = {"EndpointConfigName": name, "StartTime": pending["StartTime"], **waiting}
    return project("DescribeEndpoint", body)


def _variants(fleet: Json, since: float, state: str | None) -> Json:
    """Return the two lists of variant summaries; `state` is that of a deployment under way."""
    found = {
        field: [_summary(variant, since, state) for variant in fleet[group]]
        for field, group in (("ProductionVariants", "Production"), ("ShadowProductionVariants", "Shadow"))
    }
    return {field: summaries for field, summaries in found.items() if summaries}


def _summary(variant: Json, since: float, state: str | None) -> Json:
    image = variant["Container"]["Image"]
    summary: Json = {key: variant[key] for key in _SUMMARY}
    summary["DeployedImages"] = [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": since}]
    if state is not None:
        summary |= {"InstanceType": variant["InstanceType"], "VariantStatus": [{"Status": state, "StartTime": since}]}
    return summary
