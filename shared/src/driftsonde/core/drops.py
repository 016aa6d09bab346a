"""S3 notifications as drops: direct from S3, wrapped by SNS, raw from SNS, or from EventBridge.

Delivery is at least once and unordered. `sequencer` orders the events of one key and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote_plus, unquote_plus

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from driftsonde.core.errors import PoisonError
from driftsonde.core.events import DropRef

Kind = Literal["created", "removed", "other"]

MAX_BODY = 1_100_000
_MAJOR = "2"


@dataclass(frozen=True, slots=True)
class Drop:
    """What one notification record says of one object version."""

    kind: Kind
    bucket: str
    key: str
    event_time: datetime
    size: int | None = None
    etag: str | None = None
    version: str | None = None
    sequencer: str | None = None

    @property
    def uri(self) -> str:
        """The object's `s3://` address."""
        return f"s3://{self.bucket}/{self.key}"

    def ref(self, rows: int | None = None) -> DropRef:
        """Return the drop as events name it."""
        return DropRef(bucket=self.bucket, key=self.key, version=self.version, etag=self.etag, rows=rows)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record of a notification that is no drop; its neighbours are."""

    record: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Notification:
    """Everything in one message. `test_event`: S3's greeting when notifications are set up."""

    drops: tuple[Drop, ...] = ()
    bad: tuple[BadRecord, ...] = ()
    test_event: bool = False


# What no database takes (half a surrogate pair, a NUL, a number of thirty digits, a time before the first) would be tried again and again.
_Tag = Annotated[str, Field(pattern=r"^[!-~]{0,1024}$")]
_Size = Annotated[int, Field(ge=0, lt=1 << 60)]
_Time = Annotated[AwareDatetime, Field(ge=datetime(1, 1, 3, tzinfo=UTC), lt=datetime(9999, 12, 30, tzinfo=UTC))]  # in any zone


class _Bucket(BaseModel):
    name: str = Field(min_length=3, max_length=255)


class _Object(BaseModel):
    key: str = Field(min_length=1, max_length=4096)
    size: _Size | None = None
    eTag: _Tag | None = None  # noqa: N815  # the wire's name
    versionId: _Tag | None = None  # noqa: N815
    sequencer: str | None = Field(None, pattern=r"^[0-9A-Fa-f]{1,64}$")


class _S3(BaseModel):
    bucket: _Bucket
    object: _Object


class _Record(BaseModel):
    eventVersion: str = Field(pattern=r"^\d+\.\d+$")  # noqa: N815
    eventTime: _Time  # noqa: N815
    eventName: str  # noqa: N815
    s3: _S3


class _BridgeObject(BaseModel):
    key: str = Field(min_length=1, max_length=4096)
    size: _Size | None = None
    etag: _Tag | None = None
    version_id: _Tag | None = Field(None, alias="version-id")
    sequencer: str | None = Field(None, pattern=r"^[0-9A-Fa-f]{1,64}$")


class _BridgeDetail(BaseModel):
    bucket: _Bucket
    object: _BridgeObject


class _Bridge(BaseModel):
    detail_type: str = Field(alias="detail-type")
    time: _Time
    detail: _BridgeDetail


_records = TypeAdapter(_Record)


def parse_notification(body: str) -> Notification:
    """Read a message body of any of the four shapes.

    Raises:
        PoisonError: if it is none of them; `reason` is `not_json`, `unknown_shape` or `unknown_version`.
    """
    if len(body) > MAX_BODY:
        raise PoisonError(f"message is {len(body)} characters long", reason="unknown_shape")
    message = _load(body)
    if message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
        message = _load(message["Message"])
    if message.get("Event") == "s3:TestEvent":
        return Notification(test_event=True)
    if message.get("source") == "aws.s3" and "detail" in message:
        return Notification(drops=(_bridged(message),))
    if isinstance(message.get("Records"), list):
        return _direct(message["Records"])
    raise PoisonError("message is no S3 notification: no Records, no SNS envelope, no EventBridge event", reason="unknown_shape")


def as_message(drop: Drop) -> str:
    """Return a notification of one drop that came to be: it can be sent to the intake queue, as if S3 had sent it."""
    item = {
        "key": quote_plus(drop.key, safe="/"), "size": drop.size, "eTag": drop.etag, "versionId": drop.version, "sequencer": drop.sequencer,
    }  # fmt: skip
    record = {
        "eventVersion": "2.1", "eventTime": drop.event_time.astimezone(UTC).isoformat(), "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": drop.bucket}, "object": {name: value for name, value in item.items() if value is not None}},
    }  # fmt: skip
    return json.dumps({"Records": [record]})


def _load(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as exc:  # ValueError: also an integer of more digits than Python reads
        raise PoisonError(f"message is not JSON: {exc}", reason="not_json") from exc
    if not isinstance(message, dict):
        raise PoisonError("message is JSON, but no object", reason="unknown_shape")
    return message


def _direct(records: list[Any]) -> Notification:
    drops, bad = [], []
    for raw in records:
        try:
            record = _records.validate_python(raw)
            if record.eventVersion.split(".")[0] != _MAJOR:
                raise PoisonError(f"event version {record.eventVersion} is not supported", reason="unknown_version")
            drops.append(_record_drop(record))
        except ValidationError as exc:
            bad.append(BadRecord(_dumped(raw), "unknown_shape", _first(exc)))
        except PoisonError as exc:
            bad.append(BadRecord(_dumped(raw), exc.reason, str(exc)))
    return Notification(tuple(drops), tuple(bad))


def _dumped(raw: Any) -> str:
    try:
        return json.dumps(raw)
    except RecursionError:  # read just within the limit, written just beyond it
        return "(too deeply nested to show)"


def _record_drop(record: _Record) -> Drop:
    item = record.s3.object
    return Drop(
        _kind(record.eventName.removeprefix("s3:")), record.s3.bucket.name, _decoded(item.key), record.eventTime,
        item.size, _etag(item.eTag), item.versionId, item.sequencer,
    )  # fmt: skip


def _bridged(message: dict[str, Any]) -> Drop:
    try:
        event = _Bridge.model_validate(message)
    except ValidationError as exc:
        raise PoisonError(f"EventBridge event does not fit: {_first(exc)}", reason="unknown_shape") from exc
    names: dict[str, Kind] = {"Object Created": "created", "Object Deleted": "removed"}
    item = event.detail.object
    # Unlike in the direct shape the key is not URL-encoded.
    return Drop(
        names.get(event.detail_type, "other"), event.detail.bucket.name, _checked(item.key), event.time,
        item.size, _etag(item.etag), item.version_id, item.sequencer,
    )  # fmt: skip


def _kind(name: str) -> Kind:
    if name.startswith("ObjectCreated:"):
        return "created"
    return "removed" if name.startswith("ObjectRemoved:") else "other"


def _decoded(key: str) -> str:
    try:
        return _checked(unquote_plus(key, errors="strict"))
    except UnicodeDecodeError as exc:
        raise PoisonError(f"object key is not UTF-8: {key[:200]!r}", reason="bad_key") from exc


def _checked(key: str) -> str:
    if "\x00" in key or len(key.encode()) > 1024:
        raise PoisonError(f"object key is not valid in S3: {key[:200]!r}", reason="bad_key")
    return key


def _etag(etag: str | None) -> str | None:
    return etag.strip('"') if etag else None


def _first(exc: ValidationError) -> str:
    error = exc.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"


def compare_sequencers(one: str, other: str) -> int | None:
    """Order two sequencers of one key: negative, zero or positive; None when padding decides and the ways disagree.

    They are hexadecimal and may differ in length. AWS's documents have named both sides as the one to pad.
    """
    width = max(len(one), len(other))
    left = _sign(one.upper().rjust(width, "0"), other.upper().rjust(width, "0"))
    right = _sign(one.upper().ljust(width, "0"), other.upper().ljust(width, "0"))
    return left if left == right else None


def _sign(one: str, other: str) -> int:
    return (one > other) - (one < other)
