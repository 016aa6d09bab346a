"""What a control plane is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Everything but the way to S3 and SQS, which comes from the `AWS_*` environment. Times in seconds."""

    root: Path
    host: str = "127.0.0.1"
    port: int = 4570
    region: str = "us-east-1"
    account: str = "000000000000"
    events_queue_url: str | None = None
    duplicate_events: int = 0
    min_state_seconds: float = 0.2
    grace_seconds: float = 5.0
    concurrency: int = 1
    max_active_jobs: int = 20
    keep_files: bool = False
    wait_scale: float = 0.01
    """How long a second that a deployment waits takes here."""
