"""Settings of the retrainer; each is one `DRIFTSONDE_*` variable."""

from __future__ import annotations

from pydantic import Field

from driftsonde.core.settings import ServiceSettings


class RetrainerSettings(ServiceSettings):
    """What the retrainer has beyond every service."""

    port: int = Field(8081, ge=0, le=65535)
    job_states_url: str | None = Field(
        None, description="SQS queue that EventBridge sends SageMaker's state changes to; without it jobs are polled."
    )
    poll_jobs_seconds: float = Field(30.0, gt=0, description="Jobs are described this often even when no state change arrives.")
    poll_seconds: int = Field(10, ge=0, le=20, description="Long poll of the state-change queue.")
