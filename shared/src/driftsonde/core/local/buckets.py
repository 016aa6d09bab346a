"""Buckets of the emulator that notify the intake queue, as the deployment templates make them on AWS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from botocore.exceptions import ClientError

from driftsonde.core.aws.session import aws_client, error_code


async def watch_buckets(names: Iterable[str], queue_arn: str) -> None:
    """Create buckets where they are missing, and have them notify a queue of every created and removed object."""
    configuration = {"QueueConfigurations": [{"QueueArn": queue_arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]}
    async with aws_client("s3") as s3:
        for name in names:
            await _create(s3, name)
            await s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=configuration)


async def _create(s3: Any, name: str) -> None:
    try:
        await s3.create_bucket(Bucket=name)
    except ClientError as exc:
        if error_code(exc) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
