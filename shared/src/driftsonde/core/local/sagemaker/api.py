"""AWS's protocols over HTTP: JSON 1.1 for SageMaker, REST for its runtime; and paths of our own under `/_local`."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from driftsonde.core.local.sagemaker.faults import DROP, Fault, Faults
from driftsonde.core.local.sagemaker.hosting import Hosting
from driftsonde.core.local.sagemaker.invocations import invocations
from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.operations import Operations
from driftsonde.core.local.sagemaker.rules import AwsError

log = logging.getLogger(__name__)

_SCRIPT = TypeAdapter(list[Fault])


class DroppableProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1 with one addition: `request.state.drop()` closes the connection without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own signature
        """Offer the transport's abort to the requests of this connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "drop": transport.abort}


def build_app(operations: Operations, hosting: Hosting, faults: Faults) -> Starlette:
    """Return the ASGI application; serve it with `DroppableProtocol`."""

    async def call(request: Request) -> Response:
        operation = request.headers.get("x-amz-target", "").removeprefix("SageMaker.")
        fault = faults.take(operation)
        try:
            if fault is not None and not fault.after:
                raise AwsError(fault.code, fault.message)
            answer = operations.call(operation, _body(await request.body()))
            if fault is not None:
                raise AwsError(fault.code, fault.message)
        except AwsError as exc:
            log.info("%s: %s", operation, exc)
            if exc.code == DROP:
                request.state.drop()
            return _answer({"__type": exc.code, "message": exc.message, "Message": exc.message}, exc.http_status)
        return _answer(answer, 200)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def jobs(_: Request) -> Response:
        return JSONResponse(operations.jobs())

    async def endpoints(_: Request) -> Response:
        return JSONResponse(hosting.numbers())

    async def script(request: Request) -> Response:
        try:
            faults.add(_SCRIPT.validate_json(await request.body()))
        except ValidationError as exc:
            return JSONResponse({"error": exc.errors(include_url=False, include_input=False)}, 400)
        return JSONResponse([fault.model_dump() for fault in faults.waiting])

    return Starlette(
        routes=[
            Route("/", call, methods=["POST"]),
            Route("/_local/health", health, methods=["GET"]),
            Route("/_local/jobs", jobs, methods=["GET"]),
            Route("/_local/endpoints", endpoints, methods=["GET"]),
            Route("/endpoints/{name}/invocations", invocations(hosting, faults), methods=["POST"]),
            Route("/_local/faults", script, methods=["POST"]),
        ]
    )


def _body(raw: bytes) -> Json:
    try:
        body = json.loads(raw or b"{}")
    except ValueError as exc:
        raise AwsError("SerializationException", f"the request is not JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise AwsError("SerializationException", "the request is not a JSON object")
    return body


def _answer(body: Json, status: int) -> Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    return Response(json.dumps(body), status, headers, media_type="application/x-amz-json-1.1")
