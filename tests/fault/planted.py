"""`python -m tests.fault.planted SERVICE BUG`: a service with one known bug, planted from outside; tests/fault/test_verifier.py must find each.

Some need a death to show: they kill the process themselves, once, and it is started again without the bug.
"""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, NoReturn

from driftsonde.core.events import Alarm, DriftDetected, Event


def die() -> NoReturn:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def replace(where: str, make: Callable[[Any], Any]) -> None:
    """Put `make(what is there)` in the place of a function: `module:function` or `module:Class.method`."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    setattr(owner, name, make(getattr(owner, name)))


def nothing() -> None:
    """No bug and no death."""


# Of the detector


def dies_before_it_deletes() -> None:
    """No bug: a message is worked on, and the process dies before it is deleted."""

    async def delete(_lease: Any) -> None:
        die()

    replace("driftsonde.core.aws.queue:SqsLease.delete", lambda _: delete)


def deleted_first() -> None:
    """A message is deleted before the work; the process dies in between."""

    async def settle(lease: Any, _handle: Any) -> str:
        await lease.delete()
        die()

    replace("driftsonde.detector.consumer:settle", lambda _: settle)


def counted_again() -> None:
    """Nobody looks whether a drop is known: each delivery adds a part."""

    def keep_parts(_self: Any, connection: Any, _monitor: str, drop: Any, **_more: Any) -> None:
        connection.exec_driver_sql(f"update part set bucket = bucket || '+' where key = '{drop.key}'")

    for module in ("ingest", "ledger"):
        replace(f"driftsonde.detector.{module}:standing", lambda _: lambda _row, _drop: None)
    replace("driftsonde.detector.ledger:Ledger._remove_parts", lambda _: keep_parts)


def letter_forgotten() -> None:
    """The message of a drop that cannot be read is deleted, and no dead letter is sent."""

    async def dead_letter(_queue: Any, _body: str, _reason: str, _detail: str) -> None:
        return

    replace("driftsonde.core.aws.queue:SqsQueue.dead_letter", lambda _: dead_letter)


def saved_then_published() -> None:
    """There is no outbox: an episode is saved, and published after it; the process dies in between."""
    unsaid: list[Any] = []

    def add(real: Any) -> Any:
        def only_what_opens_nothing(self: Any, connection: Any, facts: Any, **trace: Any) -> Any:
            unsaid.extend(fact for fact in facts if isinstance(fact, Alarm))
            real(self, connection, [fact for fact in facts if not isinstance(fact, Alarm)], **trace)
            return [Event.of(fact, time=self._clock.now()).id for fact in facts]

        return only_what_opens_nothing

    def one(real: Any) -> Any:
        async def and_die(self: Any, monitor: Any) -> None:
            await real(self, monitor)
            if unsaid:
                die()

        return and_die

    replace("driftsonde.core.store.outbox:Outbox.add", add)
    replace("driftsonde.detector.judge:Judge._one", one)


def id_made_when_published() -> None:
    """An event gets its id when it is published; the process dies before it can note that."""

    def publish(real: Any) -> Any:
        async def under_a_new_id(self: Any, event: Any, *, attempt: int = 0) -> None:
            if not isinstance(event.data, DriftDetected):
                await real(self, event, attempt=attempt)
                return
            await real(self, event.model_copy(update={"id": uuid.uuid4().hex}))
            die()

        return under_a_new_id

    replace("driftsonde.core.bus.nats:NatsBus.publish", publish)


def total_from_before() -> None:
    """A window's total is what it was when the window was first judged: the later update is lost."""

    def write(real: Any) -> Any:
        return lambda self, row, verdict, rows: real(self, row, verdict, row.rows or rows)

    replace("driftsonde.detector.judging:Pass._write", write)


# Of the retrainer


def dies_after_create() -> None:
    """No bug: a job is created, and the process dies before that is noted."""

    def create(real: Any) -> Any:
        async def and_die(self: Any, kind: str, request: Any) -> None:
            await real(self, kind, request)
            die()

        return and_die

    replace("driftsonde.retrainer.sagemaker:SageMaker.create", create)


def random_job_name() -> None:
    """A job's name is made up when it is created; the process dies before that is noted."""

    def create(real: Any) -> Any:
        async def under_a_new_name(self: Any, kind: str, request: Any) -> None:
            from driftsonde.retrainer.sagemaker import KINDS

            field = KINDS[kind].name
            await real(self, kind, {**request, field: f"{request[field][:-4]}{uuid.uuid4().hex[:4]}"})
            die()

        return under_a_new_name

    replace("driftsonde.retrainer.sagemaker:SageMaker.create", create)


def noted_before_created() -> None:
    """A job is noted as created before it is; the process dies in between."""

    async def create(_self: Any, _kind: str, _request: Any) -> None:
        return

    async def status(_self: Any, _kind: str, _name: str) -> NoReturn:
        die()

    replace("driftsonde.retrainer.sagemaker:SageMaker.create", lambda _: create)
    replace("driftsonde.retrainer.sagemaker:SageMaker.status", lambda _: status)


def event_taken_before_its_plan() -> None:
    """An event is noted as handled before its plan is stored; the process dies in between."""

    async def handle(self: Any, event: Any) -> NoReturn:
        await self._database.run(self._outbox.first_time, event)
        die()

    replace("driftsonde.retrainer.handlers:Handlers.handle", lambda _: handle)


# Of the notifier


def noted_before_sent() -> None:
    """A delivery is noted before it is sent; the process dies in between."""

    async def send(self: Any, claim: Any) -> NoReturn:
        from driftsonde.core.ports import Delivery

        await self._mark(claim, Delivery("delivered"))
        die()

    replace("driftsonde.notifier.deliveries:ChannelQueue._try", lambda _: send)


def sent_and_not_noted() -> None:
    """That a delivery was sent is not noted the first time, so that it is sent again."""

    def mark(real: Any) -> Any:
        async def forgetful(self: Any, claim: Any, result: Any) -> None:
            if claim.attempts > 1:
                await real(self, claim, result)
            else:
                await self._database.run(self._store.postpone, claim, timedelta(0), "", hold=False)

        return forgetful

    replace("driftsonde.notifier.deliveries:ChannelQueue._mark", mark)


def run_service(service: str) -> int:
    """Run a service in this process; returns its exit code."""
    code: int = import_module(f"driftsonde.{service}.__main__").run([])
    return code


if __name__ == "__main__":
    globals()[sys.argv[2]]()
    sys.exit(run_service(sys.argv[1]))
