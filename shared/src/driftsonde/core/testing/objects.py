"""An object store in memory that keeps S3's rules."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from driftsonde.core.errors import GoneError, SupersededError
from driftsonde.core.ports import ObjectInfo


class MemoryObjects:
    """S3 in memory: every write is a version, a pinned read tells when its version was replaced.

    Args:
        versioned: whether objects have a VersionId, as in a bucket with versioning.
    """

    def __init__(self, *, versioned: bool = False) -> None:
        self._versioned = versioned
        self._objects: dict[tuple[str, str], list[tuple[ObjectInfo, bytes]]] = {}
        self._writes = 0

    async def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo:
        """Raise `GoneError` when the object is not there."""
        return self._find(bucket, key, version)[0]

    async def read(self, bucket: str, key: str, start: int, stop: int, *, version: str | None = None, etag: str | None = None) -> bytes:
        """Return bytes [start, stop) of the pinned version."""
        info, body = self._find(bucket, key, version)
        if version is None and etag is not None and info.etag != etag:
            raise SupersededError(f"s3://{bucket}/{key} was replaced")
        return body[start:stop]

    async def write(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object whole."""
        self._writes += 1
        version = f"v{self._writes}" if self._versioned else None
        info = ObjectInfo(len(body), hashlib.md5(body, usedforsecurity=False).hexdigest(), version, datetime.now(UTC))
        kept = self._objects.setdefault((bucket, key), [])
        kept[:] = [*(kept if self._versioned else []), (info, body)]

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[tuple[str, ObjectInfo]]:
        """Yield what lies under a prefix, in key order."""
        for (where, key), versions in sorted(self._objects.items()):
            if where == bucket and key.startswith(prefix):
                yield key, versions[-1][0]

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object with all its versions."""
        self._objects.pop((bucket, key), None)

    def _find(self, bucket: str, key: str, version: str | None) -> tuple[ObjectInfo, bytes]:
        versions = self._objects.get((bucket, key), [])
        found = [item for item in versions if version is None or item[0].version == version]
        if not found:
            raise GoneError(f"s3://{bucket}/{key} is not there")
        return found[-1]
