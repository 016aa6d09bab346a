"""What readers rely on of an object store, held by S3 (the emulator) and by the fake alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest

from driftsonde.core.aws.objects import FIRST_BYTES, S3Objects
from driftsonde.core.aws.session import aws_client
from driftsonde.core.errors import GoneError, SupersededError
from driftsonde.core.ports import ObjectStore
from driftsonde.core.testing.objects import MemoryObjects

Put = Callable[[str, bytes], Awaitable[None]]


@pytest.fixture(params=["memory", "s3"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[tuple[ObjectStore, str]]:
    """A store, and a bucket in it that nobody else uses."""
    if request.param == "memory":
        yield MemoryObjects(), "bucket"
        return
    endpoint, bucket = request.getfixturevalue("emulator"), f"objects-{uuid4().hex[:12]}"
    variables = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        async with aws_client("s3") as client:
            await client.create_bucket(Bucket=bucket)
            yield S3Objects(client), bucket


async def test_small_object_comes_with_its_description(store: tuple[ObjectStore, str]) -> None:
    objects, bucket = store
    await objects.write(bucket, "a", b"0123456789")
    info, first = await objects.open(bucket, "a")
    assert first == b"0123456789"
    assert info == await objects.head(bucket, "a")
    assert info.size == 10


async def test_large_object_comes_with_its_beginning(store: tuple[ObjectStore, str]) -> None:
    objects, bucket = store
    body = bytes(range(256)) * (FIRST_BYTES // 256) + b"the end"
    await objects.write(bucket, "a", body)
    info, first = await objects.open(bucket, "a")
    assert (info.size, first) == (len(body), body[:FIRST_BYTES])
    assert await objects.read(bucket, "a", FIRST_BYTES, len(body), etag=info.etag) == b"the end"


async def test_object_without_bytes_is_described_all_the_same(store: tuple[ObjectStore, str]) -> None:
    objects, bucket = store
    await objects.write(bucket, "a", b"")
    info, first = await objects.open(bucket, "a")
    assert (info.size, first) == (0, b"")


async def test_missing_object_is_gone(store: tuple[ObjectStore, str]) -> None:
    objects, bucket = store
    with pytest.raises(GoneError):
        await objects.open(bucket, "nothing")


async def test_object_that_was_replaced_is_superseded(store: tuple[ObjectStore, str]) -> None:
    objects, bucket = store
    await objects.write(bucket, "a", b"before")
    before = await objects.head(bucket, "a")
    await objects.write(bucket, "a", b"after")
    with pytest.raises(SupersededError):
        await objects.open(bucket, "a", etag=before.etag)
