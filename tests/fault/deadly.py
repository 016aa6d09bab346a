"""`python -m tests.fault.deadly SERVICE STEP before|after N`: a service that kills itself at the Nth time that it comes to a durable step.

`after` a call is when it has been done and nothing else has; `before` a transaction is when it is not committed yet.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any

from .planted import die, replace, run_service

CALLS = {
    "receive": "driftsonde.core.aws.queue:SqsQueue.receive",
    "renew": "driftsonde.core.aws.queue:SqsQueue.change_visibility",
    "dead-letter": "driftsonde.core.aws.queue:SqsQueue.dead_letter",
    "delete": "driftsonde.core.aws.queue:SqsQueue.delete",
    "read": "driftsonde.core.aws.objects:S3Objects.open",
    "write": "driftsonde.core.aws.objects:S3Objects.write",
    "publish": "driftsonde.core.bus.nats:NatsBus.publish",
    "ack": "driftsonde.core.bus.settle:NatsMessage.ack",
    "create": "driftsonde.retrainer.sagemaker:SageMaker.create",
    "describe": "driftsonde.retrainer.sagemaker:SageMaker.status",
    "register": "driftsonde.retrainer.sagemaker:SageMaker.register",
    "post": "driftsonde.notifier.channels.http:HttpPoster.post",
}
TRANSACTIONS = {
    "commit": "driftsonde.detector.ledger:Ledger.commit",
    "judge": "driftsonde.detector.evaluate:Evaluate.__call__",
    "hear": "driftsonde.detector.timeline:Timeline._store",
    "mark": "driftsonde.core.store.outbox:Relay._mark",
    "take": "driftsonde.retrainer.handlers:Handlers._take",
    "decide": "driftsonde.retrainer.plans:Plans.decide",
    "note": "driftsonde.retrainer.plans:Plans.mark",
    "promote": "driftsonde.retrainer.plans:Plans.promote",
    "queue": "driftsonde.notifier.store:Store.record",
    "claim": "driftsonde.notifier.store:Store.claim",
    "finish": "driftsonde.notifier.store:Store.finish",
}
"""What is part of each transaction."""
_SLOWLY = 2.0
"""Seconds that a drop is read where its lease is to be renewed."""


def plant(step: str, moment: str, number: int) -> None:
    """Have this process die before or after the given time that it comes to a step."""
    come = itertools.count(1)
    if step in TRANSACTIONS:
        inside = threading.local()
        replace(TRANSACTIONS[step], lambda real: _part(real, lambda: next(come) == number, moment, inside))
        replace("driftsonde.core.store.engine:Database._write_with_retries", lambda real: _transaction(real, inside))
    else:
        replace(CALLS[step], lambda real: _call(real, lambda: next(come) == number, moment))
    if step == "renew":
        replace(CALLS["read"], _slow)


def _call(real: Any, is_last: Callable[[], bool], moment: str) -> Any:
    async def deadly(*args: Any, **more: Any) -> Any:
        if moment == "before" and is_last():
            die()
        answer = await real(*args, **more)
        if moment == "after" and answer != [] and is_last():  # a poll that brings nothing is no step
            die()
        return answer

    return deadly


def _part(real: Any, is_last: Callable[[], bool], moment: str, inside: threading.local) -> Any:
    def watched(*args: Any, **more: Any) -> Any:
        answer = real(*args, **more)
        if not isinstance(answer, float) and is_last():  # a claim of nothing says only when to look again
            if moment == "before":
                die()
            inside.dies = True
        return answer

    return watched


def _transaction(real: Any, inside: threading.local) -> Any:
    def deadly(*args: Any, **more: Any) -> Any:
        answer = real(*args, **more)
        if getattr(inside, "dies", False):
            die()
        return answer

    return deadly


def _slow(real: Any) -> Any:
    async def slow(*args: Any, **more: Any) -> Any:
        await asyncio.sleep(_SLOWLY)
        return await real(*args, **more)

    return slow


if __name__ == "__main__":
    plant(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    sys.exit(run_service(sys.argv[1]))
