"""S3: reads that are pinned to a version."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from aiohttp import ClientConnectionError, ClientPayloadError
from botocore.exceptions import ClientError

from driftsonde.core.aws.session import AWS_ERRORS, TRANSPORT_ERRORS, as_retryable, error_code
from driftsonde.core.errors import GoneError, RetryableError, SupersededError
from driftsonde.core.ports import ObjectInfo

_GONE = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound", "NoSuchBucket", "405", "MethodNotAllowed"})
_CUT_OFF: tuple[type[BaseException], ...] = (ClientConnectionError, ClientPayloadError, *AWS_ERRORS)
_REPLACED = frozenset({"412", "PreconditionFailed"})

_MD5 = re.compile(r"[0-9a-f]{32}")
_SLOWEST = 64 * 1024  # bytes per second

FIRST_BYTES = 1 << 20
"""How much of an object is fetched before anything is known of it."""


class _EmptyObject(Exception):
    """No range of an object without bytes can be asked for."""


def _info(answer: Any, size: int) -> ObjectInfo:
    etag = answer["ETag"].strip('"')
    # AWS: an ETag is the MD5 of an object that was put in one piece and is not encrypted with a key of KMS or the customer's.
    plain = answer.get("ServerSideEncryption") in (None, "AES256") and "SSECustomerAlgorithm" not in answer
    return ObjectInfo(size, etag, answer.get("VersionId"), answer["LastModified"], etag if plain and _MD5.fullmatch(etag) else None)


class S3Objects:
    """Objects of any bucket.

    Args:
        client: an aiobotocore S3 client.
        patience: seconds that a body may take beyond what it would at 64 KiB a second.
        owners: the account that must own a bucket, by bucket; S3 refuses calls to one that is another's.
    """

    def __init__(self, client: Any, *, patience: float = 30.0, owners: Mapping[str, str] | None = None) -> None:
        self._client, self._patience, self._owners = client, patience, owners or {}

    async def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo:
        """Return size, ETag and version."""
        pin = {"VersionId": version} if version else {}
        answer = await self._call(self._client.head_object(Bucket=bucket, Key=key, **pin, **self._owner(bucket)), bucket, key)
        return _info(answer, answer["ContentLength"])

    async def open(self, bucket: str, key: str, *, version: str | None = None, etag: str | None = None) -> tuple[ObjectInfo, bytes]:
        """Return size, ETag and version, and the first bytes: all of a small object."""
        try:
            answer = await self._get(bucket, key, 0, FIRST_BYTES, version, etag)
        except _EmptyObject:
            return await self.head(bucket, key, version=version), b""
        data = await self._body(answer, bucket, key)
        size = int(answer["ContentRange"].rpartition("/")[2])
        if len(data) != min(size, FIRST_BYTES):
            raise RetryableError(f"s3://{bucket}/{key}: got {len(data)} bytes of {min(size, FIRST_BYTES)}")
        return _info(answer, size), data

    async def read(self, bucket: str, key: str, start: int, stop: int, *, version: str | None = None, etag: str | None = None) -> bytes:
        """Return bytes [start, stop) of the pinned version."""
        data = await self._body(await self._get(bucket, key, start, stop, version, etag), bucket, key)
        if len(data) != stop - start:
            raise RetryableError(f"s3://{bucket}/{key}: got {len(data)} bytes of {stop - start}")
        return data

    async def _get(self, bucket: str, key: str, start: int, stop: int, version: str | None, etag: str | None) -> Any:
        pin: dict[str, str] = {"VersionId": version} if version else {"IfMatch": f'"{etag}"'} if etag else {}
        return await self._call(
            self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **pin, **self._owner(bucket)), bucket, key
        )

    async def _body(self, answer: Any, bucket: str, key: str) -> bytes:
        data = bytearray()
        try:
            async with asyncio.timeout(self._patience + answer["ContentLength"] / _SLOWEST), answer["Body"] as body:
                async for chunk in body.iter_chunks(1 << 20):
                    data += chunk
        except _CUT_OFF as exc:
            raise RetryableError(f"s3://{bucket}/{key}: the body was cut off, or came too slowly: {exc!r}") from exc
        return cast("bytes", data)  # a copy would hold twice the memory for a moment

    async def write(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object whole."""
        await self._call(self._client.put_object(Bucket=bucket, Key=key, Body=body, **self._owner(bucket)), bucket, key)

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[tuple[str, ObjectInfo]]:
        """Yield what lies under a prefix, in key order."""
        token: dict[str, str] = {}
        while True:
            page = await self._call(
                self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, **token, **self._owner(bucket)), bucket, prefix
            )
            for item in page.get("Contents", []):
                yield item["Key"], ObjectInfo(item["Size"], item["ETag"].strip('"'), None, item["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _owner(self, bucket: str) -> dict[str, str]:
        return {"ExpectedBucketOwner": self._owners[bucket]} if bucket in self._owners else {}

    async def _call(self, call: Any, bucket: str, key: str) -> Any:
        try:
            return await call
        except ClientError as exc:
            code = error_code(exc)
            if code in _REPLACED:
                raise SupersededError(f"s3://{bucket}/{key} was replaced by another version") from exc
            if code == "InvalidRange":
                raise _EmptyObject from exc
            if code in _GONE:
                raise GoneError(f"s3://{bucket}/{key} is not there") from exc
            raise as_retryable(exc) from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc
