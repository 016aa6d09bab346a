"""What outlives a crash: queues, databases, the bus, SageMaker and a channel, each as small as its promise.

Nothing here crashes and nothing here is correct by itself: a method is one durable step, and what may happen between two of
them is up to `actors` and `schedule`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True, slots=True)
class Protocol:
    """The order of writes, and the mistakes that can be planted in it (`reliability`: the variants that lose)."""

    delete_first: bool = False
    """The message is deleted before the drop is stored."""
    count_again: bool = False
    """A drop adds its rows whenever it comes, instead of replacing its part."""
    newest_unknown: bool = False
    """An older version of an object replaces a newer one."""
    no_outbox: bool = False
    """The verdict is stored, then the event is published."""
    forgetful_relay: bool = False
    """An event counts as published before the bus has taken it."""
    never_again: bool = False
    """What the bus took is never published again."""
    random_name: bool = False
    """Each try to start a job gives it another name."""
    claim_is_done: bool = False
    """A step counts as started once it was claimed."""
    ack_first: bool = False
    """An event is acknowledged before it is stored."""
    sent_first: bool = False
    """A message counts as sent before the channel has taken it."""


@dataclass(slots=True)
class Queue:
    """At least once, in no order: a message stays until it is deleted, and a lease may end at any time."""

    messages: list[tuple[int, int]]
    leased: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)

    def receive(self, rng: Random) -> int | None:
        """Lease a message; now and then one that someone else has, or that was deleted already (S3 notified twice)."""
        index = int(rng.random() * len(self.messages))
        usual = index not in self.deleted and index not in self.leased
        if not usual and rng.random() > 0.1:
            return None
        self.leased.add(index)
        return index

    def delete(self, index: int) -> None:
        """Settle a message."""
        self.deleted.add(index)
        self.leased.discard(index)


@dataclass(slots=True)
class Detector:
    """The detector's database."""

    versions: dict[int, int] = field(default_factory=dict)
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    dirty: set[int] = field(default_factory=set)
    judged: dict[int, int] = field(default_factory=dict)
    episodes: dict[str, bool] = field(default_factory=dict)
    outbox: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class Bus:
    """At least once to each consumer, in no order; what it has taken it may lose, once."""

    pending: dict[str, list[str]] = field(default_factory=lambda: {"retrainer": [], "notifier": [], "detector": []})

    def publish(self, event: str) -> None:
        """Take an event for every consumer."""
        for waiting in self.pending.values():
            waiting.append(event)

    def deliver(self, consumer: str, rng: Random) -> str | None:
        """Show an event; it stays until it is acknowledged."""
        waiting = self.pending[consumer]
        return waiting[int(rng.random() * len(waiting))] if waiting else None

    def acknowledge(self, consumer: str, event: str) -> None:
        """Forget one copy."""
        if event in self.pending[consumer]:
            self.pending[consumer].remove(event)

    def lose(self, rng: Random) -> None:
        """Forget everything for one consumer, as a broker may whose disk was not flushed."""
        self.pending[("retrainer", "notifier")[rng.random() < 0.5]].clear()


@dataclass(slots=True)
class Plan:
    """A plan of the retrainer's database."""

    step: int = 0
    attempt: int = 1
    claimed: bool = False
    job: str | None = None
    outcome: str | None = None


@dataclass(slots=True)
class Retrainer:
    """The retrainer's database."""

    inbox: set[str] = field(default_factory=set)
    plans: dict[str, Plan] = field(default_factory=dict)
    outbox: dict[str, bool] = field(default_factory=dict)


class InUseError(Exception):
    """A job of this name exists already."""


@dataclass(slots=True)
class SageMaker:
    """Names are unique for ever. Jobs end by themselves; the first attempt of some fails."""

    jobs: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    def create(self, name: str, what: tuple[str, int, int]) -> None:
        """Start a job.

        Raises:
            InUseError: if the name was used before.
        """
        if name in self.jobs:
            raise InUseError
        self.jobs[name] = what

    def failed(self, name: str) -> bool:
        """Say how a job ended."""
        plan, step, attempt = self.jobs[name]
        return attempt == 1 and (step + len(plan)) % 2 == 0


@dataclass(slots=True)
class Notifier:
    """The notifier's database, and the channel."""

    deliveries: dict[str, bool] = field(default_factory=dict)
    posted: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class World:
    """Everything durable of one run."""

    rng: Random
    protocol: Protocol
    intake: Queue
    detector: Detector = field(default_factory=Detector)
    bus: Bus = field(default_factory=Bus)
    retrainer: Retrainer = field(default_factory=Retrainer)
    sagemaker: SageMaker = field(default_factory=SageMaker)
    notifier: Notifier = field(default_factory=Notifier)
    crashes: int = 0
