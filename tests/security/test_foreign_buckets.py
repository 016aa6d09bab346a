"""A forged or foreign message makes nobody read a bucket that no monitor names, or one that is another account's."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.aws.session import aws_client
from driftsonde.core.config import parse_config
from driftsonde.core.errors import ConfigError, DriftsondeError, PoisonError, RetryableError
from driftsonde.core.places import places
from driftsonde.core.store.engine import Database
from driftsonde.core.testing.objects import MemoryObjects
from driftsonde.core.testing.queue import MemoryLease, MemoryQueue
from driftsonde.retrainer import store as retrainer_store
from driftsonde.retrainer.steps.prepare import _Drops
from unit.detector.support import BUCKET, Rig, drop_body, message
from unit.retrainer.conftest import Retrainer, drift, make_config

OURS, THEIRS = "111122223333", "444455556666"
FOREIGN = [
    "foreign", "acme-evil", "xacme", "acme.evil.example", "ACME", "acm", "a*e", "acme ", " acme", "acme\n", "acme/in", "acme%2f", "../acme", "s3://acme", "arn:aws:s3:::acme",
    "arn:aws:s3:us-east-1:444455556666:accesspoint/acme", "аcme", "acme\u200b", "\uff41cme",
]  # fmt: skip


class CountingObjects(MemoryObjects):
    """A store that notes every bucket that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def _find(self, bucket: str, key: str, version: str | None) -> Any:
        self.asked.append(bucket)
        return super()._find(bucket, key, version)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A detector with a baseline, whose store has an object of the same key in every bucket."""
    made = Rig(f"sqlite:///{tmp_path}/detector.db", objects=CountingObjects())
    await made.adopt()
    for bucket in (BUCKET, *FOREIGN):
        made.objects.put(bucket, "in/x.parquet", drop_body())
    asked(made).clear()
    yield made
    made.close()


def asked(rig: Rig) -> list[str]:
    """Return the buckets that were asked about."""
    assert isinstance(rig.objects, CountingObjects)
    return rig.objects.asked


async def handle(rig: Rig, body: str) -> None:
    """Handle a message; poison ends here."""
    try:
        await rig.intake.handle(MemoryLease(MemoryQueue(), body, 1))
    except PoisonError as exc:
        rig.metrics.drops.labels(exc.reason).inc()


def bridged(bucket: str, kind: str = "Object Created") -> str:
    """Return an event of EventBridge."""
    detail = {"bucket": {"name": bucket}, "object": {"key": "in/x.parquet", "size": 1, "etag": "e", "sequencer": "01"}}
    return json.dumps({"source": "aws.s3", "detail-type": kind, "time": "2026-03-01T12:00:00Z", "detail": detail})


@pytest.mark.parametrize("bucket", FOREIGN)
@pytest.mark.parametrize("kind", ["created", "removed"])
async def test_event_of_a_foreign_bucket_reads_nothing(rig: Rig, bucket: str, kind: str) -> None:
    body = message(replace(rig.event("in/x.parquet", kind=kind, size=1, etag="e"), bucket=bucket))
    for shape in (body, json.dumps({"Type": "Notification", "Message": body}), bridged(bucket), bridged(bucket, "Object Deleted")):
        await handle(rig, shape)
    assert asked(rig) == []
    assert rig.objects_known() == {}
    assert set(rig.outcomes()) <= {"unmatched", "unknown_shape"}


async def test_foreign_record_beside_ours_reads_ours_alone(rig: Rig) -> None:
    ours = rig.put("in/x.parquet", drop_body())
    await handle(rig, message(*(replace(ours, bucket=bucket) for bucket in FOREIGN), ours))
    assert set(asked(rig)) == {BUCKET}
    assert rig.outcomes() == {"unmatched": len(FOREIGN), "counted": 1}


@pytest.mark.parametrize("key", ["out/x.parquet", "in", "In/x.parquet", "/in/x.parquet", "../acme/in/x.parquet", "base/frozen.dsk", "in/"])
async def test_key_outside_every_monitor_reads_nothing(rig: Rig, key: str) -> None:
    await handle(rig, message(rig.event(key, size=1, etag="e")))
    assert asked(rig) == []


async def test_pending_drops_of_foreign_buckets_are_never_kept(tmp_path: Path) -> None:
    rig = Rig(f"sqlite:///{tmp_path}/detector.db")  # without a baseline, drops wait
    await handle(rig, message(replace(rig.event("in/x.parquet"), bucket="foreign")))
    assert (rig.objects.reads, rig.select("object")) == (0, [])
    rig.close()


def raw(**changes: Any) -> dict[str, Any]:
    """Return a configuration that names six buckets."""
    recipe = {
        "role": "arn:aws:iam::123456789012:role/jobs", "output": "s3://out-bucket/x/",
        "champion": {"model": "s3://model-bucket/m.tar.gz", "encoding": "s3://encoding-bucket/e.json"},
    }  # fmt: skip
    monitor = {"name": "churn", "drops": "s3://acme-ml/in/*.csv", "baseline": "s3://base-bucket/b"}
    return {"monitors": [monitor], "recipes": {"xgb": recipe}, **changes}


@pytest.mark.parametrize("bucket", ["acme-ml", "base-bucket", "out-bucket", "model-bucket", "encoding-bucket"])
def test_every_bucket_of_the_configuration_may_have_an_owner(bucket: str) -> None:
    assert parse_config(raw(bucket_owners={bucket: OURS}), source="x").bucket_owners == {bucket: OURS}


def test_owner_of_a_bucket_that_nobody_names_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="bucket_owners: no monitor or recipe names the bucket 'acme'"):
        parse_config(raw(bucket_owners={"acme": OURS}), source="x")


@pytest.mark.parametrize(
    "owner",
    [
        "",
        "12345678901",
        "1234567890123",
        "11112222333a",
        "１１１１２２２２３３３３",
        "self",
        111122223333,
        None,
        " 111122223333",
        "111122223333\n",
    ],
)
def test_owner_that_is_no_account_is_a_mistake(owner: object) -> None:
    with pytest.raises(ConfigError, match=r"bucket_owners\.acme-ml"):
        parse_config(raw(bucket_owners={"acme-ml": owner}), source="x")


@asynccontextmanager
async def recorded(endpoint: str, seen: list[tuple[str, str | None]]) -> AsyncIterator[Any]:
    """Yield an S3 client of the emulator that notes each request's operation and the owner in its header."""

    def note(request: Any, operation_name: str, **_: Any) -> None:
        owner = request.headers.get("x-amz-expected-bucket-owner")
        seen.append((operation_name, owner.decode() if isinstance(owner, bytes) else owner))

    variables = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        async with aws_client("s3") as client:
            client.meta.events.register("before-sign.s3", note)
            yield client


async def test_every_operation_names_the_owner_of_its_bucket(emulator: str) -> None:
    ours, other = f"ours-{uuid4().hex[:8]}", f"other-{uuid4().hex[:8]}"
    seen: list[tuple[str, str | None]] = []
    async with recorded(emulator, seen) as client:
        for bucket, owner in ((ours, OURS), (other, None)):
            await client.create_bucket(Bucket=bucket)
            objects = S3Objects(client, owners={ours: OURS})
            seen.clear()
            await objects.write(bucket, "a", b"0123456789")
            info = await objects.head(bucket, "a")
            await objects.open(bucket, "a", etag=info.etag)
            await objects.read(bucket, "a", 2, 4)
            assert [key async for key, _ in objects.list(bucket, "")] == ["a"]
            await objects.write(bucket, "empty", b"")
            await objects.open(bucket, "empty")
            operations = ["PutObject", "HeadObject", "GetObject", "GetObject", "ListObjectsV2", "PutObject", "GetObject", "HeadObject"]
            assert seen == [(operation, owner) for operation in operations]


async def test_bucket_of_another_account_is_refused_as_access_denied() -> None:
    class Client:
        """Answers as S3 does when the owner is another."""

        def __getattr__(self, name: str) -> Any:
            async def call(**asked: Any) -> Any:
                from botocore.exceptions import ClientError

                assert asked["ExpectedBucketOwner"] == THEIRS
                raise ClientError({"Error": {"Code": "403" if name == "head_object" else "AccessDenied", "Message": "Access Denied"}}, name)

            return call

    objects = S3Objects(Client(), owners={"acme": THEIRS})
    for call in (objects.head("acme", "a"), objects.open("acme", "a"), objects.read("acme", "a", 0, 1), objects.write("acme", "a", b"")):
        with pytest.raises(RetryableError, match=r"AWS refused: (403|AccessDenied)"):
            await call
    with pytest.raises(RetryableError, match="AWS refused: AccessDenied"):
        [key async for key in objects.list("acme", "")]


@pytest.fixture
def aws(emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An emulator that clients find by their environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": emulator,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    return emulator


def test_baseline_build_hands_owners_to_its_store(aws: str) -> None:
    with places({"acme-absent": OURS}) as store:  # other tests make buckets in the same emulator
        with pytest.raises(DriftsondeError):
            store.find("s3://acme-absent/nothing/")
        assert store._objects._owner("acme-absent") == {"ExpectedBucketOwner": OURS}


async def test_manifest_of_a_plan_tells_the_prepare_step_the_owners(tmp_path: Path, aws: str) -> None:
    database = Database(f"sqlite:///{tmp_path}/retrainer.db")
    database.create_all(retrainer_store.metadata)
    retrainer = Retrainer(database, make_config().model_copy(update={"bucket_owners": {"acme": OURS}}))
    await retrainer.hear(drift())
    await retrainer.rounds()
    manifest = json.loads(await retrainer.objects.read("acme", "out/churn-0/episode-1/manifest-1/job.json", 0, 100_000))
    database.close()
    assert manifest["owners"] == {"acme": OURS}
    with _Drops(manifest) as drops:
        assert drops._objects._owner("acme") == {"ExpectedBucketOwner": OURS}


def test_every_store_that_is_made_is_given_the_owners() -> None:
    root = Path(__file__).parents[2]
    calls = {
        (path.name, tuple(keyword.arg for keyword in node.keywords if keyword.arg == "owners"))
        for folder in ("shared/src", "services")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "S3Objects"
    }
    assert {name for name, _ in calls} == {"app.py", "prepare.py", "places.py", "replay.py"}
    assert {owners for _, owners in calls} == {("owners",)}
