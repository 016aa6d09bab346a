"""One place that makes AWS clients: credentials, endpoints and regions come from the standard AWS_* environment."""

from __future__ import annotations

import os
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from driftsonde.core.errors import ConfigError, DriftsondeError, RetryableError, Throttled

THROTTLING = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException",
    "SlowDown", "RequestThrottled", "RequestThrottledException", "Throttled", "KMSThrottled", "KmsThrottled", "BandwidthLimitExceeded",
})  # fmt: skip


_OTHER_S3 = frozenset({"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"})
"""Where S3 is reached at an address of its own, nobody may know the name `<bucket>.<host>`: the bucket goes into the path."""


def aws_client(service: str, *, read_timeout: float = 30.0, connections: int = 32, region: str | None = None) -> Any:
    """Return an async context manager that yields an aiobotocore client of `service`.

    Retries with back-off for throttling and transport errors are botocore's ("standard" mode, three tries).
    The region is `region`, else AWS_REGION (which botocore alone does not read), else botocore's own search.
    """
    config = AioConfig(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=5,
        read_timeout=read_timeout,
        max_pool_connections=connections,
        s3={"addressing_style": "path"} if _OTHER_S3 & os.environ.keys() else None,
    )
    session = get_session()
    found = region or os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not found:
        raise ConfigError("AWS_REGION: not set; set it to the region of the bucket and queues, e.g. eu-west-1")
    return session.create_client(service, region_name=found, config=config)


def error_code(exc: ClientError) -> str:
    """Return the code of an AWS error. Codes are stable; texts are reworded."""
    return str(exc.response.get("Error", {}).get("Code", ""))


def as_retryable(exc: BaseException) -> DriftsondeError:
    """Turn what a client raised into our tree: throttling, set-up mistakes, and everything else worth another try."""
    if isinstance(exc, NoCredentialsError | NoRegionError):
        return ConfigError(f"AWS: {exc}; set AWS_REGION and credentials, or a role")
    if isinstance(exc, ClientError):
        if error_code(exc) in THROTTLING:
            return Throttled(f"AWS asks to slow down: {error_code(exc)}", retry_after=5.0)
        return RetryableError(f"AWS refused: {error_code(exc)}: {exc}", retry_after=10.0)
    return RetryableError(f"AWS is away: {exc!r}", retry_after=2.0)


TRANSPORT_ERRORS: tuple[type[BaseException], ...] = (BotoCoreError, OSError, TimeoutError)
AWS_ERRORS: tuple[type[BaseException], ...] = (ClientError, *TRANSPORT_ERRORS)
