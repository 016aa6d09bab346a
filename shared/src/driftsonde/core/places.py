"""Files and S3 objects alike, for programs that are no service: the command line, and workers of a cluster."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.names import split_s3
from driftsonde.core.readers import LocalSource, Source, StoreSource


class Found(NamedTuple):
    """An object that was found.

    Args:
        address: its path, or its s3:// address.
        size: in bytes.
        etag: of an object in S3: what is read later must be the same.
    """

    address: str
    size: int
    etag: str | None = None


class Places:
    """What lies at addresses; the S3 client lives on an event loop in a thread, and is made when it is needed.

    Args:
        owners: the account that must own a bucket, by bucket.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
        self._owners = owners
        self._loop = asyncio.new_event_loop()
        self._context: Any = None
        self._objects: Any = None

    def find(self, name: str) -> list[Found]:
        """Return the file, those of the folder, or the objects of the prefix, in the order of their names.

        Raises:
            DriftsondeError: if there is no such file or folder, or S3 refuses.
        """
        if name.startswith("s3://"):
            listed: list[Found] = self._run(self._listed(name))
            return listed
        path = Path(name)
        if not path.exists():
            raise DriftsondeError(f"cannot read {name}: no such file or folder")
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        return [Found(str(file), file.stat().st_size) for file in files]

    def source(self, found: Found) -> Source:
        """Return the object for reading.

        Raises:
            DriftsondeError: if the file is not there.
        """
        if not found.address.startswith("s3://"):
            try:
                return LocalSource(Path(found.address))
            except OSError as exc:
                raise DriftsondeError(f"cannot read {found.address}: {exc.strerror}") from exc
        bucket, key = split_s3(found.address)
        return StoreSource(self._run(self._client()), self._loop, bucket, key, found.size, etag=found.etag)

    def read(self, address: str) -> bytes:
        """Return a whole file or object.

        Raises:
            DriftsondeError: if it cannot be read.
        """
        if address.startswith("s3://"):
            bucket, key = split_s3(address)
            data: bytes = self._run(self._got(bucket, key))
            return data
        try:
            return Path(address).read_bytes()
        except OSError as exc:
            raise DriftsondeError(f"cannot read {address}: {exc.strerror}") from exc

    def write(self, out: str, data: bytes) -> None:
        """Write a whole file or object.

        Raises:
            DriftsondeError: if it cannot be written.
        """
        if out.startswith("s3://"):
            bucket, key = split_s3(out)
            self._run(self._put(bucket, key, data))
        else:
            try:
                Path(out).write_bytes(data)
            except OSError as exc:
                raise DriftsondeError(f"cannot write {out}: {exc.strerror}") from exc

    def close(self) -> None:
        """Let go of the S3 client."""
        if self._context is not None:
            self._run(self._context.__aexit__(None, None, None))
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _client(self) -> Any:
        from driftsonde.core.aws.objects import S3Objects
        from driftsonde.core.aws.session import aws_client

        if self._objects is None:
            self._context = aws_client("s3")
            self._objects = S3Objects(await self._context.__aenter__(), owners=self._owners)
        return self._objects

    async def _listed(self, uri: str) -> list[Found]:
        objects = await self._client()
        bucket, prefix = split_s3(uri)
        return [Found(f"s3://{bucket}/{key}", info.size, info.etag) async for key, info in objects.list(bucket, prefix) if info.size]

    async def _got(self, bucket: str, key: str) -> bytes:
        objects = await self._client()
        info, first = await objects.open(bucket, key)
        rest = await objects.read(bucket, key, len(first), info.size, etag=info.etag) if len(first) < info.size else b""
        return bytes(first + rest)

    async def _put(self, bucket: str, key: str, data: bytes) -> None:
        await (await self._client()).write(bucket, key, data)

    def _run(self, call: Any) -> Any:
        if not self._loop.is_running():
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


@contextmanager
def places(owners: Mapping[str, str] | None = None) -> Iterator[Places]:
    """Open places, and close them."""
    opened = Places(owners or {})
    try:
        yield opened
    finally:
        opened.close()
