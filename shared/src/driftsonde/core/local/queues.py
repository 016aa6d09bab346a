"""The queues that driftsonde stands on, in an emulator: `python -m driftsonde.core.local.queues` makes them."""

from __future__ import annotations

import asyncio
from typing import Final

from driftsonde.core.aws.session import aws_client

INTAKE: Final = "driftsonde-intake"
DEAD_LETTERS: Final = "driftsonde-dead-letters"
JOB_STATES: Final = "driftsonde-job-states"


async def create_queues() -> None:
    """Create the intake queue, its dead letters and the queue of SageMaker's state changes, where they are missing."""
    async with aws_client("sqs") as sqs:
        for name in (INTAKE, DEAD_LETTERS, JOB_STATES):
            await sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "60", "MessageRetentionPeriod": "1209600"})


if __name__ == "__main__":
    asyncio.run(create_queues())
