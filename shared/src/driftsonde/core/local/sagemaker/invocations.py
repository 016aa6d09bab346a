"""InvokeEndpoint: SageMaker's runtime, which speaks REST where the control plane speaks JSON 1.1."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from driftsonde.core.local.sagemaker.capture import Call, Payload
from driftsonde.core.local.sagemaker.faults import DROP, Faults
from driftsonde.core.local.sagemaker.fleet import OK
from driftsonde.core.local.sagemaker.hosting import Hosting

MAX_BODY: Final = 6_291_456
_STATUS: Final = {"ValidationError": 400, "ModelError": 424, "ServiceUnavailable": 503, "InternalFailure": 500}


def invocations(hosting: Hosting, faults: Faults) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of `/endpoints/{name}/invocations`."""

    async def invoke(request: Request) -> Response:
        name, body, headers = request.path_params["name"], await request.body(), request.headers
        fault = faults.take("InvokeEndpoint")
        if fault is not None and not fault.after:
            if fault.code == DROP:
                request.state.drop()
            return _error(fault.code, fault.message)
        if len(body) > MAX_BODY:
            return _error("ValidationError", f"Body must be at most {MAX_BODY} bytes, is {len(body)}")
        payload = Payload(body, headers.get("content-type", "application/octet-stream"))
        call = Call(payload, str(uuid.uuid4()), headers.get("x-amzn-sagemaker-inference-id"))
        target = headers.get("x-amzn-sagemaker-target-variant")
        answered = await hosting.invoke(name, call, accept=headers.get("accept"), target=target)
        if answered is None:
            wanted = f"Variant {target} of endpoint {name}" if target else f"Endpoint {name}"
            return _error("ValidationError", f"{wanted} not found, or not in service.")
        variant, status, answer = answered
        if status != OK:
            text = answer.body.decode(errors="replace")
            message = f'Received {"server" if status >= 500 else "client"} error ({status}) from {variant} with message "{text}"'
            return _error("ModelError", message, OriginalStatusCode=status, OriginalMessage=text)
        if fault is not None:
            return _error(fault.code, fault.message)
        return Response(answer.body, 200, {"x-Amzn-Invoked-Production-Variant": variant}, media_type=answer.content_type)

    return invoke


def _error(code: str, message: str, **more: object) -> Response:
    body = json.dumps({"Message": message, **more})
    return Response(body, _STATUS.get(code, 400), {"x-amzn-ErrorType": code}, media_type="application/json")
