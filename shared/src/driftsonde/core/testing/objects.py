"""An object store in memory that keeps S3's rules."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from driftsonde.core.errors import GoneError, RetryableError, SupersededError
from driftsonde.core.ports import Clock, ObjectInfo
from driftsonde.core.testing.fakes import FakeClock


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of an object; `body` is None for a delete marker."""

    body: bytes | None
    info: ObjectInfo


class MemoryObjects:
    """Buckets in memory. Reads are pinned as in S3: to a version that is there, or to an ETag that still matches.

    Args:
        versioned: keep what is replaced or deleted, under version ids.

    Attributes:
        faults: raised one by one by the next calls.
        first_bytes: how much `open` gives.
    """

    def __init__(self, clock: Clock | None = None, *, versioned: bool = False) -> None:
        self.reads = 0
        self.first_bytes = 1 << 20
        self.faults: list[RetryableError] = []
        self._clock, self._versioned = clock or FakeClock(), versioned
        self._stored: dict[tuple[str, str], list[_Version]] = {}
        self._count = 0

    def put(self, bucket: str, key: str, body: bytes) -> ObjectInfo:
        """Store an object whole; returns what a HEAD would tell."""
        return self._add(bucket, key, body).info

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; with versions that is one more of them."""
        if self._versioned:
            self._add(bucket, key, None)
        else:
            self._stored.pop((bucket, key), None)

    async def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo:
        """Return size, ETag and version, or raise `GoneError`."""
        return self._find(bucket, key, version).info

    async def open(self, bucket: str, key: str, *, version: str | None = None, etag: str | None = None) -> tuple[ObjectInfo, bytes]:
        """Return what `head` does and the first bytes, or raise as `read`."""
        info = self._find(bucket, key, version).info
        return info, await self.read(bucket, key, 0, self.first_bytes, version=version, etag=etag)

    async def read(
        self, bucket: str, key: str, start: int, stop: int, *, version: str | None = None, etag: str | None = None
    ) -> bytes:  # fmt: skip
        """Return bytes [start, stop), or raise `SupersededError` if the ETag is another one by now."""
        self.reads += 1
        found = self._find(bucket, key, version)
        if etag is not None and found.info.etag != etag:
            raise SupersededError(f"s3://{bucket}/{key} was replaced by another version")
        assert found.body is not None
        return found.body[start:stop]

    async def write(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object whole."""
        self.put(bucket, key, body)

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) in key order."""
        for found_bucket, key in sorted(self._stored):
            newest = self._stored[found_bucket, key][-1]
            if found_bucket == bucket and key.startswith(prefix) and newest.body is not None:
                yield key, newest.info

    def _add(self, bucket: str, key: str, body: bytes | None) -> _Version:
        self._count += 1
        version = f"v{self._count}" if self._versioned else None
        info = ObjectInfo(len(body or b""), hashlib.md5(body or b"", usedforsecurity=False).hexdigest(), version, self._clock.now())
        stored = _Version(body, info)
        before = self._stored.get((bucket, key), []) if self._versioned else []
        self._stored[bucket, key] = [*before, stored]
        return stored

    def _find(self, bucket: str, key: str, version: str | None) -> _Version:
        if self.faults:
            raise self.faults.pop(0)
        versions = self._stored.get((bucket, key), [])
        wanted = [stored for stored in versions if stored.info.version == version] if version else versions[-1:]
        if not wanted or wanted[0].body is None:
            raise GoneError(f"s3://{bucket}/{key} is not there")
        return wanted[0]
