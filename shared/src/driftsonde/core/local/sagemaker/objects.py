"""S3 as a job sees it: prefixes and manifests come down as directories, directories go up as prefixes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from driftsonde.core.archive import unpack
from driftsonde.core.local.sagemaker.clients import UNREACHABLE, open_client
from driftsonde.core.names import split_s3

_CHUNK = 1 << 20


class JobFailed(Exception):
    """The job ends as Failed; the text is its FailureReason."""


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turn errors of S3 into the reasons SageMaker gives: the user's fault, or the service's."""
    try:
        yield
    except ClientError as exc:
        raise JobFailed(f"ClientError: {what}: {exc}") from exc
    except UNREACHABLE as exc:
        raise JobFailed(f"InternalServerError: {what} could not be moved: {exc!r}") from exc


def relative(prefix: str, key: str) -> str:
    """Return where under a channel's directory the object `key` of `prefix` belongs.

    The prefix need not end at a slash: it may name a folder, one object or the beginning of several names.
    """
    rest = key.removeprefix(prefix)
    if rest and (not prefix or prefix.endswith("/")):
        return rest
    return rest[1:] if rest.startswith("/") else key.rpartition("/")[2] if not rest else key[prefix.rfind("/") + 1 :]


class Objects:
    """What a job does with S3, through an open client."""

    def __init__(self, client: Any) -> None:
        self._s3 = client

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[Objects]:
        """Open the client and close it at the end."""
        async with open_client("s3") as client:
            yield cls(client)

    async def listing(self, uri: str, kind: str = "S3Prefix") -> list[tuple[str, str, str]]:
        """Return (bucket, key, relative path) of every object of an S3Prefix or ManifestFile.

        Raises:
            JobFailed: if there is none, or one would land outside its directory.
        """
        with _failures(uri):
            found = await (self._manifest(uri) if kind == "ManifestFile" else self._prefix(uri))
        if not found:
            raise JobFailed(f'ClientError: Data download failed: no S3 objects found under S3 URL "{uri}"')
        for _, key, path in found:
            if path.startswith("/") or ".." in path.split("/"):
                raise JobFailed(f"ClientError: Data download failed: the key {key!r} is not a safe file name")
        return found

    async def _prefix(self, uri: str) -> list[tuple[str, str, str]]:
        bucket, prefix = split_s3(uri)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] async for page in pages for item in page.get("Contents", [])]
        return [(bucket, key, relative(prefix, key)) for key in keys if not key.endswith("/")]

    async def _manifest(self, uri: str) -> list[tuple[str, str, str]]:
        bucket, key = split_s3(uri)
        answer = await self._s3.get_object(Bucket=bucket, Key=key)
        async with answer["Body"] as stream:
            text = await stream.read()
        try:
            head, *items = json.loads(text)
            target, prefix = split_s3(head["prefix"])
            return [(target, prefix + item, item) for item in items]
        except (ValueError, TypeError, KeyError) as exc:
            raise JobFailed(f'ClientError: {uri} is not a manifest such as [{{"prefix": "s3://bucket/key/"}}, "a.csv"]: {exc}') from exc

    async def download(self, bucket: str, key: str, path: Path) -> None:
        """Write one object to a file."""
        with _failures(f"s3://{bucket}/{key}"):
            answer = await self._s3.get_object(Bucket=bucket, Key=key)
            async with answer["Body"] as stream:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    while chunk := await stream.read(_CHUNK):
                        file.write(chunk)

    async def fetch(self, uri: str, directory: Path, kind: str = "S3Prefix") -> None:
        """Write every object of a prefix or manifest under a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        for bucket, key, path in await self.listing(uri, kind):
            await self.download(bucket, key, directory / path)

    async def fetch_tar(self, uri: str, directory: Path) -> None:
        """Unpack a tar.gz of S3 under a directory; nothing lands outside it."""
        archive = directory.with_name(f"{directory.name}.tar.gz")
        await self.download(*split_s3(uri), archive)
        try:
            await asyncio.to_thread(_unpack, archive, directory)
        except (tarfile.TarError, EOFError, OSError) as exc:
            raise JobFailed(f"ClientError: {uri} cannot be unpacked: {exc}") from exc
        archive.unlink()

    async def put(self, path: Path, uri: str) -> None:
        """Store one file as one object."""
        bucket, key = split_s3(uri)
        with _failures(uri), path.open("rb") as file:
            await self._s3.put_object(Bucket=bucket, Key=key, Body=file)

    async def write(self, body: bytes, uri: str) -> None:
        """Store bytes as one object."""
        bucket, key = split_s3(uri)
        with _failures(uri):
            await self._s3.put_object(Bucket=bucket, Key=key, Body=body)

    async def store(self, directory: Path, uri: str) -> None:
        """Store every file of a directory under a prefix."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                await self.put(path, f"{uri.rstrip('/')}/{path.relative_to(directory).as_posix()}")

    async def store_tar(self, directory: Path, uri: str) -> None:
        """Pack a directory to a tar.gz object."""
        archive = directory.with_name(f"{directory.name}.tar.gz")
        await asyncio.to_thread(_pack, directory, archive)
        await self.put(archive, uri)
        archive.unlink()


def _unpack(archive: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:*") as tar:
        unpack(tar, directory)


def _pack(directory: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, arcname=path.name)
