"""AWS clients for the control plane itself; endpoint and credentials come from the `AWS_*` environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from aiobotocore.config import AioConfig  # type: ignore[import-untyped,unused-ignore]  # ships no types
from aiobotocore.session import get_session  # type: ignore[import-untyped,unused-ignore]  # ships no types
from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError

UNREACHABLE = (BotoCoreError, HttpError, OSError)
"""What a client raises when the other side gave no proper answer; a cut body is not a botocore error."""


@contextlib.asynccontextmanager
async def open_client(service: str) -> AsyncIterator[Any]:
    """Open a client of `s3` or `sqs` and close it at the end."""
    # Emulators are reached by one host name, which cannot have buckets in front of it.
    emulated = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = AioConfig(s3={"addressing_style": "path"}) if emulated else AioConfig()
    async with get_session().create_client(service, config=config) as client:
        yield client
