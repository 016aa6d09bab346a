"""State-change events as EventBridge would route them to an SQS queue.

At most once and best effort, like the way from SageMaker to EventBridge: who must not miss an end also polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from driftsonde.core.local.sagemaker.clients import UNREACHABLE, open_client
from driftsonde.core.local.sagemaker.kinds import JobKind, Json
from driftsonde.core.local.sagemaker.registry import Resource, describe

log = logging.getLogger(__name__)


def state_change(kind: JobKind, job: Resource, tags: Mapping[str, str]) -> Json:
    """Return the EventBridge event of a job's present state."""
    return _event(f"SageMaker {kind.words or kind.title} Job State Change", job, describe(kind, job), tags)


def endpoint_change(endpoint: Resource, description: Json, tags: Mapping[str, str]) -> Json:
    """Return the EventBridge event of an endpoint's present state, which these events spell as IN_SERVICE."""
    status = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", endpoint.status).upper()
    return _event("SageMaker Endpoint State Change", endpoint, {**description, "EndpointStatus": status}, tags)


def _event(title: str, resource: Resource, description: Json, tags: Mapping[str, str]) -> Json:
    _, _, _, region, account, _ = resource.arn.split(":", 5)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": title,
        "source": "aws.sagemaker",
        "account": account,
        "time": datetime.fromtimestamp(resource.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [resource.arn],
        "detail": {**_millis(description), "Tags": dict(tags)},
    }


def _millis(value: Any, key: str = "") -> Any:
    """Turn epoch seconds into the milliseconds that events carry, wherever a field is a time."""
    if isinstance(value, dict):
        return {name: _millis(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_millis(item, key) for item in value]
    return int(value * 1000) if key.endswith(("Time", "Timestamp")) and isinstance(value, (int, float)) else value


class Notifier:
    """Sends events in order, one at a time, without holding up the jobs.

    Args:
        queue_url: the SQS queue; None sends nothing.
        duplicates: how many more times each event is sent, as EventBridge may.
    """

    def __init__(self, queue_url: str | None, *, duplicates: int = 0) -> None:
        self._queue_url = queue_url
        self._copies = 1 + duplicates
        self._waiting: asyncio.Queue[Json] = asyncio.Queue()

    def publish(self, event: Json) -> None:
        """Queue an event; returns at once."""
        if self._queue_url is not None:
            for _ in range(self._copies):
                self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Send what is queued until cancelled; an event the queue does not take is logged and left."""
        if self._queue_url is None:
            return
        async with open_client("sqs") as sqs:
            while True:
                event = await self._waiting.get()
                try:
                    await sqs.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps(event))
                except (ClientError, *UNREACHABLE) as exc:
                    log.warning("state change of %s was not sent: %s", event["resources"][0], exc)
                finally:
                    self._waiting.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until everything queued was sent or given up, but not longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waiting.join()
