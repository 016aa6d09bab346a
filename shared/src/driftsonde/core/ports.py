"""What decision code may ask of the world, as Protocols; adapters and the fakes of `core.testing` implement them.

Pure packages are imported for type checking only: the retrainer and the notifier load no numpy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from driftsonde.core.events import Event

Outcome = str
"""What became of a message: a label from a closed list, counted."""

Handler = Callable[[Event], Awaitable[Outcome]]
"""`async def handle(event) -> Outcome`; raises `PoisonError` or `RetryableError`, nothing else on purpose."""


class Clock(Protocol):
    """Wall time, injected so that tests decide it."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        ...


class Lease(Protocol):
    """One received message, held for a time."""

    @property
    def body(self) -> str:
        """The message text."""
        ...

    @property
    def deliveries(self) -> int:
        """How often it has been received, this time included."""
        ...

    @property
    def sent_at(self) -> datetime | None:
        """When it was put into the queue, where that is known."""
        ...

    @property
    def traceparent(self) -> str | None:
        """The trace that whoever sent it says it belongs to."""
        ...

    async def extend_forever(self) -> None:
        """Renew at a third of the lease until cancelled; raise `LeaseLost` when that fails, before the lease ends."""
        ...

    async def delete(self) -> None:
        """Settle: the message is done."""
        ...

    async def release(self, delay: float) -> None:
        """Settle: deliver it again after `delay` seconds."""
        ...

    async def dead_letter(self, reason: str, detail: str) -> None:
        """Settle: keep it, with its reason, where people look."""
        ...


class Queue(Protocol):
    """A queue that delivers at least once, in any order."""

    async def receive(self, slots: int) -> Sequence[Lease]:
        """Wait for messages, at most one long poll; never more than `slots`."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a HEAD tells of an object. `size` in bytes; `md5` of its bytes, where the store says so."""

    size: int
    etag: str
    version: str | None
    modified: datetime
    md5: str | None = None


class ObjectStore(Protocol):
    """S3 as far as it is needed. Every read can be pinned to a version or ETag."""

    async def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo:
        """Raise `GoneError` when the object is not there."""
        ...

    async def open(self, bucket: str, key: str, *, version: str | None = None, etag: str | None = None) -> tuple[ObjectInfo, bytes]:
        """Return what `head` does, and the object's first bytes: all of a small object, for the price of one request.

        Raise `GoneError` when the object is not there, `SupersededError` when the pinned version was replaced.
        """
        ...

    async def read(self, bucket: str, key: str, start: int, stop: int, *, version: str | None = None, etag: str | None = None) -> bytes:
        """Return bytes `[start, stop)`; raise `SupersededError` when the pinned version was replaced."""
        ...

    async def write(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object whole."""
        ...

    def list(self, bucket: str, prefix: str) -> AsyncIterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) in key order."""
        ...


class Bus(Protocol):
    """Publishes and delivers events at least once."""

    async def publish(self, event: Event, *, attempt: int = 0) -> None:
        """Return when the broker has stored the event; raise `RetryableError` otherwise.

        The broker drops a repeat of the same event and attempt; a higher `attempt` is delivered again on purpose.
        """
        ...

    def subscribe(self, service: str, types: Sequence[str], handle: Handler) -> None:
        """Deliver every event of `types` (short names) to `handle`; durable under the service's name."""
        ...


JobState = Literal["pending", "running", "succeeded", "failed", "stopped", "unknown"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job as SageMaker sees it. `metrics`: final metrics by name; `outputs`: S3 addresses by name."""

    state: JobState
    detail: str = ""
    metrics: Mapping[str, float] | None = None
    artifact: str | None = None
    seconds: float | None = None


class TrainingJobs(Protocol):
    """SageMaker as far as the retrainer needs it. Requests are SageMaker's own shapes; `kind` is training, tuning, processing, transform, model or endpoint-config."""

    async def create(self, kind: str, request: Mapping[str, Any]) -> None:
        """Create a resource; one of that name that has our tags is ours already, a foreign one is a `ConfigError`.

        Raises `QuotaReached` when the account may not have more, `RetryableError` when the answer was lost.
        """
        ...

    async def register(self, group: str, request: Mapping[str, Any]) -> str:
        """Create a model package, and its group if need be; returns its ARN. The client token makes a repeat harmless."""
        ...

    async def judge(self, package: str, status: Literal["Approved", "Rejected"], reason: str) -> None:
        """Change whether a model package may be deployed; one that is gone is left alone."""
        ...

    async def status(self, kind: str, name: str) -> JobStatus:
        """Describe a job."""
        ...

    async def stop(self, kind: str, name: str) -> None:
        """Ask a job to stop; done or unknown jobs are left alone."""
        ...


class Executions(Protocol):
    """SageMaker Pipelines or Step Functions as far as the retrainer needs them. Requests are AWS's own shapes."""

    async def start(self, request: Mapping[str, Any]) -> str:
        """Start an execution once, however often it is asked for with the same request; returns its ARN.

        Raises `ConfigError` when it can never be started, `QuotaReached` when too many run, `RetryableError` when the answer was lost.
        """
        ...

    async def status(self, execution: str) -> JobStatus:
        """Describe an execution by its ARN."""
        ...

    async def stop(self, execution: str, reason: str) -> None:
        """Ask an execution to stop; done or unknown ones are left alone."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointState:
    """A real-time endpoint as SageMaker sees it.

    Args:
        status: SageMaker's own word, e.g. `InService`, `Updating`.
        config: the endpoint configuration that is in force.
        pending: the one that is being deployed; None if none is.
        reason: why the last update was rolled back, where SageMaker says so.
        weights: of the production variants, by name.
    """

    status: str
    config: str
    pending: str | None = None
    reason: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether SageMaker is still at work on it."""
        return self.status in ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


class Endpoints(Protocol):
    """SageMaker's endpoints as far as the retrainer needs them. Every call can be repeated."""

    async def state(self, name: str) -> EndpointState | None:
        """Describe an endpoint; None if there is none of that name."""
        ...

    async def config(self, name: str) -> Mapping[str, Any]:
        """Return an endpoint configuration in the shape that CreateEndpointConfig takes."""
        ...

    async def point(self, endpoint: str, config: str, guard: Mapping[str, Any] | None, tags: Sequence[Mapping[str, str]]) -> None:
        """Have an endpoint take a configuration, under a DeploymentConfig; a missing endpoint is created, with the tags.

        Raises `ConfigError` when SageMaker refuses, `QuotaReached` when the account may not have more.
        """
        ...

    async def weigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        """Give variants other weights."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a channel answered. `retry_after` (seconds) only with `retry`; `thread` where later messages of the group belong."""

    outcome: Literal["delivered", "retry", "refused"]
    detail: str = ""
    retry_after: float | None = None
    thread: str | None = None


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why an event is sent, beside what it says.

    Attributes:
        reminder: which reminder of an open episode it is; 0: it is none.
        thread: what the channel answered as `Delivery.thread` to an earlier message of the group.
        sample: nothing happened, somebody tries the channel.
    """

    reminder: int = 0
    thread: str | None = None
    sample: bool = False


FIRST = Occasion()


class Channel(Protocol):
    """One way to reach people. It tries once; the caller decides about another try."""

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Deliver one event."""
        ...
