"""Processing jobs: a command with inputs from S3 and outputs to S3."""

from __future__ import annotations

from driftsonde.core.local.sagemaker.container import Job, command, no_engine, resource_config
from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.rules import DAY

_CONFIG = (
    "ProcessingInputs", "ProcessingOutputConfig", "ProcessingResources", "AppSpecification", "Environment", "StoppingCondition", "RoleArn",
)  # fmt: skip


async def run(job: Job) -> Json:
    """Do the job; return the fields that join its description."""
    app = job.body["AppSpecification"]
    if "ContainerEntrypoint" not in app:
        raise no_engine(app["ImageUri"], "Give AppSpecification.ContainerEntrypoint a command of this machine.")
    outputs = [item["S3Output"] for item in job.body.get("ProcessingOutputConfig", {}).get("Outputs", [])]
    async with job.phase("Downloading"):
        for item in job.body.get("ProcessingInputs", []):
            source = item["S3Input"]
            await job.objects.fetch(source["S3Uri"], job.inside(source["LocalPath"]), source["S3DataType"])
        for output in outputs:
            job.inside(output["LocalPath"]).mkdir(parents=True, exist_ok=True)
        description = {key: job.body[key] for key in _CONFIG if key in job.body}
        job.write("config/processingjobconfig.json", {"ProcessingJobArn": job.arn, "ProcessingJobName": job.name, **description})
        job.write("config/resourceconfig.json", resource_config())
    async with job.phase("Running"):
        limit = job.body.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DAY)
        extra = {"PROCESSING_JOB_NAME": job.name, "PROCESSING_JOB_ARN": job.arn}
        await job.run(command(app["ContainerEntrypoint"], app.get("ContainerArguments", [])), job.environment(extra), limit)
    async with job.phase("Uploading"):
        for output in outputs:
            await job.objects.store(job.inside(output["LocalPath"]), output["S3Uri"])
    message = job.base / "output" / "message"
    return {"ExitMessage": message.read_text(errors="replace")[:1024]} if message.is_file() else {}
