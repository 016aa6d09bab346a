"""Data capture: what an endpoint was asked and what it answered, as JSON lines in S3, in SageMaker's own shape.

A shadow variant's answers go nowhere else. What is captured is written after a short while, as on AWS.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from driftsonde.core.local.sagemaker.objects import JobFailed, Objects

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Payload:
    """One side of an invocation."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One invocation of the endpoint; a shadow variant's copy is the same call."""

    request: Payload
    event_id: str
    inference_id: str | None = None


class Capture:
    """Keeps a share of an endpoint's calls.

    Args:
        config: the endpoint configuration's DataCaptureConfig; None captures nothing.
        endpoint: its name, the first folder under the destination.
    """

    def __init__(self, objects: Objects, config: Mapping[str, Any] | None, endpoint: str) -> None:
        self._objects, self._endpoint = objects, endpoint
        self._config: Mapping[str, Any] = config if config is not None and config.get("EnableCapture", True) else {}
        self._credit = 0
        self._lines: dict[str, list[str]] = {}
        self._writing = asyncio.Lock()

    def samples(self) -> bool:
        """Whether the next call is captured: exactly InitialSamplingPercentage of them are."""
        self._credit += self._config.get("InitialSamplingPercentage", 0)
        taken = self._credit >= 100
        self._credit -= 100 if taken else 0
        return taken

    def record(self, variant: str, call: Call, answer: Payload) -> None:
        """Keep one answered call of a variant."""
        modes = {option["CaptureMode"] for option in self._config["CaptureOptions"]}
        sides = (("Input", "endpointInput", call.request), ("Output", "endpointOutput", answer))
        data = {
            field: self._side(payload, mode.upper()) for mode, field, payload in sides if modes & {mode, "InputAndOutput"}
        }  # fmt: skip
        named = {"inferenceId": call.inference_id} if call.inference_id else {}
        meta = {"eventId": call.event_id, **named, "inferenceTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._lines.setdefault(variant, []).append(json.dumps({"captureData": data, "eventMetadata": meta, "eventVersion": "0"}))

    def _side(self, payload: Payload, mode: str) -> dict[str, str]:
        headers = self._config.get("CaptureContentTypeHeader", {})
        plain = payload.content_type.partition(";")[0].strip()
        for field, encoding in (("CsvContentTypes", "CSV"), ("JsonContentTypes", "JSON")):
            if plain in headers.get(field, []):
                text = payload.body.decode(errors="replace")
                return {"observedContentType": payload.content_type, "mode": mode, "data": text, "encoding": encoding}
        data = base64.b64encode(payload.body).decode()
        return {"observedContentType": payload.content_type, "mode": mode, "data": data, "encoding": "BASE64"}

    async def flush(self) -> None:
        """Write what was kept, one object for each variant; what S3 does not take is logged and lost, as capture may be on AWS."""
        # Who is cancelled meanwhile leaves the writing to go on; the last flush waits for it.
        await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        kept, self._lines = self._lines, {}
        now = datetime.now(UTC)
        for variant, lines in kept.items():
            folder = f"{self._config['DestinationS3Uri'].rstrip('/')}/{self._endpoint}/{variant}/{now:%Y/%m/%d/%H}"
            try:
                await self._objects.write(("\n".join(lines) + "\n").encode(), f"{folder}/{now:%M-%S}-{uuid.uuid4()}.jsonl")
            except JobFailed as exc:
                log.warning("capture of %s was lost: %s", self._endpoint, exc)
