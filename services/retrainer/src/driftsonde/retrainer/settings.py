"""Settings of the retrainer; each is one `DRIFTSONDE_*` variable."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from driftsonde.core.settings import ServiceSettings


class RetrainerSettings(ServiceSettings):
    """What the retrainer has beyond every service."""

    port: int = Field(8081, ge=0, le=65535)
    job_states_url: str | None = Field(
        None, description="SQS queue that EventBridge sends SageMaker's state changes to; without it jobs are polled."
    )
    poll_jobs_seconds: float = Field(30.0, gt=0, description="Jobs are described this often even when no state change arrives.")
    api_token: SecretStr = Field(
        SecretStr(""), description="What requests that approve, reject or roll back must bear; empty: this machine only."
    )
    public_url: str = Field("", pattern=r"^(https?://\S+)?$", description="Where people reach the retrainer; messages that ask link to it.")
    approval_secret: SecretStr = Field(SecretStr(""), description="Signs the links of messages that ask; at least 16 characters.")
    poll_seconds: int = Field(10, ge=0, le=20, description="Long poll of the state-change queue.")

    @field_validator("approval_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value()) < 16:
            raise ValueError("is shorter than 16 characters; make one with `openssl rand -hex 32`")
        return secret
