"""How many times an event is delivered before it is put aside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from driftsonde.core.bus.settle import settling
from driftsonde.core.errors import RetryableError


@pytest.mark.parametrize(
    ("error", "delivery", "ending"),
    [
        (RetryableError("away"), 1, "again in 1"),
        (RetryableError("away"), 8, "again in 128"),
        (RetryableError("away"), 19, "again in 300"),
        (RetryableError("away"), 20, "max_deliveries"),
        (ZeroDivisionError("a bug"), 1, "again in 1"),
        (ZeroDivisionError("a bug"), 7, "again in 64"),
        (ZeroDivisionError("a bug"), 8, "max_deliveries"),
    ],
)
async def test_event_is_put_aside_after_its_last_delivery(error: Exception, delivery: int, ending: str) -> None:
    endings: list[str] = []

    async def dead_letter(_body: bytes, reason: str, _detail: str) -> None:
        endings.append(reason)

    async def nack(delay: float) -> None:
        endings.append(f"again in {delay:g}")

    raw = SimpleNamespace(metadata=SimpleNamespace(num_delivered=delivery), subject="events")
    message: Any = SimpleNamespace(raw_message=raw, body=b"{}", nack=nack, reject=AsyncMock(), ack=AsyncMock(), in_progress=AsyncMock())
    context: Any = None
    await settling(dead_letter)(message, context=context).consume_scope(AsyncMock(side_effect=error), message)
    assert endings == [ending]
    assert message.reject.await_count == (ending == "max_deliveries")
    assert message.ack.await_count == 0
