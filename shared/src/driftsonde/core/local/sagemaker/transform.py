"""Batch transform: every object of a prefix is posted to the model's server, record by record, and the answers stored."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import httpx

from driftsonde.core.local.sagemaker.columns import parse_filter, read_row, write_row
from driftsonde.core.local.sagemaker.container import Job
from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.objects import JobFailed
from driftsonde.core.local.sagemaker.serving import free_port, serve_command, wait_ready


async def run(job: Job) -> Json:
    """Do the job; return the fields that join its description."""
    container = job.body["Container"]
    variables = {**container.get("Environment", {}), **job.body.get("Environment", {})}
    argv = serve_command(container, variables, "Batch transform")
    async with job.phase("Downloading"):
        (job.base / "model").rmdir()
        await job.objects.fetch_tar(container["ModelDataUrl"], job.base / "model")
        source = job.body["TransformInput"]["DataSource"]["S3DataSource"]
        found = await job.objects.listing(source["S3Uri"], source["S3DataType"])
    port = free_port()
    child = await job.start(argv, {**job.environment(variables), "SAGEMAKER_BIND_TO_PORT": str(port)})
    try:
        async with job.phase("Transforming"), _client(job, port) as client:
            await wait_ready(child, client, job.log_tail)
            for bucket, key, path in found:
                await job.objects.download(bucket, key, job.base / "input" / "data" / path)
                await _transform(job, client, path)
    finally:
        await asyncio.shield(child.end())
    return {}


def _client(job: Job, port: int) -> httpx.AsyncClient:
    seconds = job.body.get("ModelClientConfig", {}).get("InvocationsTimeoutInSeconds", 600)
    # No proxy from the environment: the server is a child of ours.
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=seconds, trust_env=False)


async def _transform(job: Job, client: httpx.AsyncClient, path: str) -> None:
    """Send one input object and store its `.out`."""
    local = job.base / "input" / "data" / path
    out = job.base / "output" / "data" / f"{path}.out"
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = job.body["TransformOutput"].get("AssembleWith") == "Line"
    with _open(local, job.body["TransformInput"].get("CompressionType")) as source, out.open("wb") as target:
        for batch in _batches(job, source):
            answer = await _answer(job, client, batch)
            target.write(answer.rstrip(b"\r\n") + b"\n" if lines else answer)
    await job.objects.put(out, f"{job.body['TransformOutput']['S3OutputPath'].rstrip('/')}/{path}.out")
    local.unlink()
    out.unlink()


def _open(path: Path, compression: str | None) -> BinaryIO:
    return gzip.open(path) if compression == "Gzip" else path.open("rb")  # type: ignore[return-value]  # a GzipFile reads as one


def _batches(job: Job, source: BinaryIO) -> Iterator[list[bytes]]:
    """Yield what is sent in one request: the whole object, one line, or as many lines as the payload takes."""
    if job.body["TransformInput"].get("SplitType", "None") == "None":
        yield [_fitting(job, source.read())]
        return
    batch: list[bytes] = []
    size = 0
    single = job.body.get("BatchStrategy") == "SingleRecord"
    for record in _records(source):
        line = _fitting(job, record)
        if batch and (single or 0 < _limit(job) < size + len(line)):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield batch


def _records(source: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in (raw.rstrip(b"\r\n") for raw in source) if line)


def _limit(job: Job) -> int:
    """Return the largest payload in bytes; 0 is no limit."""
    return int(job.body.get("MaxPayloadInMB", 6)) << 20


def _fitting(job: Job, record: bytes) -> bytes:
    if 0 < _limit(job) < len(record):
        raise JobFailed(f"ClientError: a record of {len(record)} bytes is over MaxPayloadInMB; split the input or raise the limit")
    return record


async def _answer(job: Job, client: httpx.AsyncClient, batch: list[bytes]) -> bytes:
    """Send one request; return its answer, filtered and joined as DataProcessing asks."""
    data = job.body.get("DataProcessing", {})
    rows = [read_row(line.decode()) for line in batch] if data else []
    try:
        if data:
            keep = parse_filter(data.get("InputFilter", "$"))
            answer = await _post(job, client, "\n".join(write_row(keep(row)) for row in rows).encode())
            return _joined(data, rows, answer)
        return await _post(job, client, b"\n".join(batch))
    except IndexError as exc:
        raise JobFailed(f"ClientError: a filter of DataProcessing names a column that a record does not have: {exc}") from exc


async def _post(job: Job, client: httpx.AsyncClient, body: bytes) -> bytes:
    headers = {"Content-Type": job.body["TransformInput"].get("ContentType", "text/csv")}
    if "Accept" in job.body["TransformOutput"]:
        headers["Accept"] = job.body["TransformOutput"]["Accept"]
    try:
        answer = await client.post("/invocations", content=body, headers=headers)
    except httpx.TransportError as exc:
        raise JobFailed(f"AlgorithmError: the model's server did not answer: {exc!r}; {job.log_tail()}"[:1024]) from exc
    if answer.status_code != httpx.codes.OK:
        raise JobFailed(f"ClientError: the model's server answered {answer.status_code}: {answer.text}"[:1024])
    return answer.content


def _joined(data: Json, rows: list[list[str]], answer: bytes) -> bytes:
    results = [read_row(line) for line in answer.decode().splitlines()]
    if len(results) != len(rows):
        raise JobFailed(f"ClientError: {len(rows)} records were sent and {len(results)} came back; they cannot be joined")
    if data.get("JoinSource", "None") == "Input":
        results = [[*row, *result] for row, result in zip(rows, results, strict=True)]
    keep = parse_filter(data.get("OutputFilter", "$"))
    return "\n".join(write_row(keep(result)) for result in results).encode()
