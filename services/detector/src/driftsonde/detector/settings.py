"""Settings of the detector; each is one `DRIFTSONDE_*` variable."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from driftsonde.core.config import Duration
from driftsonde.core.readers import Limits
from driftsonde.core.settings import ServiceSettings


class DetectorSettings(ServiceSettings):
    """What the detector has beyond every service."""

    queue_url: str = Field(description="SQS queue that S3 notifies.")
    dead_letter_url: str = Field(description="SQS queue for what can never be read; replayed by people.")
    port: int = Field(8080, ge=0, le=65535)
    slots: int = Field(8, ge=1, le=64, description="Drops measured at the same time.")
    lease: Duration = Field(timedelta(seconds=60), description="Lease on one message; renewed at a third of it.")
    read_patience: Duration = Field(
        timedelta(seconds=30), description="Time that a part of an object may take beyond its size at 64 KiB/s."
    )
    probation: Duration = Field(
        timedelta(seconds=10), description="A drop over which a process died is read again by one that has lived for so long."
    )
    limits: Limits = Field(Limits(), description="What an object may ask of the reader; each is a variable of its own.")
    keep_parts: Duration = Field(
        timedelta(days=30), description="What each drop gave to a window by time or rows; after it the window is final."
    )
    keep_windows: Duration = Field(
        timedelta(days=400), description="Windows, their sketches, and what is known of their objects; at least 45d, and keep_parts."
    )
    metrics_features: int = Field(
        10, ge=0, le=100, description="Columns of each monitor with series of their own, beside those that drifted; 2,000 in all."
    )
    poll_seconds: int = Field(10, ge=0, le=20, description="Long poll; a stop waits for it to end.")
    console: bool = Field(True, description="Serve read-only pages for people at /; they ask for no password, as little as the read API.")

    @model_validator(mode="after")
    def _lease_outlives_grace(self) -> Self:
        if self.lease <= self.grace:
            raise ValueError("lease must be longer than grace, or a stopping detector loses what it still works on")
        return self

    @model_validator(mode="after")
    def _objects_outlive_their_messages(self) -> Self:
        if self.keep_windows < max(timedelta(days=45), self.keep_parts):
            raise ValueError("keep_windows must be at least 45d and keep_parts: SQS may deliver a drop again for 28 days")
        return self
