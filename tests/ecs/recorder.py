"""A gate before the emulator and local SageMaker, one for each service: it notes every call as IAM would see it, and refuses what the
service's role is not granted. What a service does through it, it could do on AWS with that role (and no more is claimed)."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from .support import ACCOUNT, REGION, Json

_SM = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
_BATCHES = {
    "DeleteMessageBatch": "DeleteMessage",
    "SendMessageBatch": "SendMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
_NAMED = {
    "ProcessingJobName": "processing-job", "TrainingJobName": "training-job", "TransformJobName": "transform-job",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job", "ModelName": "model", "EndpointConfigName": "endpoint-config",
    "EndpointName": "endpoint", "ModelPackageGroupName": "model-package-group", "PipelineName": "pipeline",
}  # fmt: skip
_SUBJECTS = {
    "CreateTransformJob": ["TransformJobName"],  # it names the model too, and needs no right on it
    "CreateModelPackage": [],
}
_ARNS = ("ModelPackageArn", "PipelineExecutionArn", "ResourceArn", "stateMachineArn", "executionArn")


class Use(NamedTuple):
    """One right that a call needs."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


def uses(service: str, headers: Mapping[str, str], method: str, path: str, body: bytes) -> list[Use]:
    """Return the rights that a request needs on AWS, after its Service Authorization Reference."""
    operation = headers.get("X-Amz-Target", "").rpartition(".")[2]
    if service == "s3":
        return _s3(method, path)
    if service == "sqs":
        queue = json.loads(body)["QueueUrl"].rpartition("/")[2]
        return [Use(f"sqs:{_BATCHES.get(operation, operation)}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}")]
    if service == "sns":
        form = parse_qs(body.decode())
        return [Use(f"sns:{form['Action'][0]}", form["TopicArn"][0])]
    request = json.loads(body)
    if service == "states":
        return [Use(f"states:{operation}", request[name]) for name in _ARNS if name in request]
    assert service == "sagemaker", f"{service} {operation}: not translated yet"
    return _sagemaker(operation, request)


def _s3(method: str, path: str) -> list[Use]:
    parts = urlsplit(path)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    if not key:
        return [Use("s3:ListBucket", f"arn:aws:s3:::{bucket}")]
    verb = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[method]
    version = "Version" if "versionId" in parse_qs(parts.query) else ""
    return [Use(f"s3:{verb}{version}", f"arn:aws:s3:::{bucket}/{key}")]


def _sagemaker(operation: str, request: Json) -> list[Use]:
    named = [name for name in _SUBJECTS.get(operation, list(_NAMED)) if name in request]
    resources = [f"{_SM}:{_NAMED[name]}/{request[name]}" for name in named]
    resources += [request[name] for name in _ARNS if name in request]
    if operation == "CreateModelPackage":
        resources = [f"{_SM}:model-package/{request['ModelPackageGroupName']}/1"]
    found = [Use(f"sagemaker:{operation}", resource) for resource in resources]
    if request.get("Tags"):  # what is created is tagged, not what it refers to
        own = next(item for item in resources if f":{_created(operation)}/" in item)
        found.append(Use("sagemaker:AddTags", own))
    roles = [request.get("RoleArn"), request.get("ExecutionRoleArn"), request.get("TrainingJobDefinition", {}).get("RoleArn")]
    passed = (("iam:PassedToService", "sagemaker.amazonaws.com"),)
    return found + [Use("iam:PassRole", role, passed) for role in roles if role]


def _created(operation: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", operation.removeprefix("Create")).lower()


class Policy:
    """What a role's statements come to. Only what our policies have: Allow, wildcards, StringEquals."""

    def __init__(self, statements: Sequence[Json]) -> None:
        assert {item["Effect"] for item in statements} == {"Allow"}
        self._statements = statements

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield each action with each resource that it is granted on."""
        for statement in self._statements:
            for action in _listed(statement["Action"]):
                for resource in dict.fromkeys(_listed(statement["Resource"])):
                    yield action, resource

    def allows(self, use: Use) -> bool:
        """Whether a statement grants it."""
        return any(self._grants(statement, use) for statement in self._statements)

    @staticmethod
    def _grants(statement: Json, use: Use) -> bool:
        assert set(statement.get("Condition", {})) <= {"StringEquals"}
        wanted = statement.get("Condition", {}).get("StringEquals", {})
        return (
            use.action in _listed(statement["Action"])
            and any(matches(pattern, use.resource) for pattern in _listed(statement["Resource"]))
            and all(dict(use.context).get(key) == value for key, value in wanted.items())
        )


def matches(pattern: str, resource: str) -> bool:
    """Whether an ARN is one of those that a pattern of IAM stands for."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), resource) is not None


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


class Gate:
    """Listens for one service while the block runs."""

    def __init__(self, service: str, policy: Policy, upstreams: Mapping[str, str], otherwise: str) -> None:
        self.service, self.policy = service, policy
        self.used: set[Use] = set()
        self.denied: set[Use] = set()
        self._upstreams, self._otherwise, self._lock = upstreams, otherwise, threading.Lock()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                gate.handle(self)

            do_GET = do_HEAD = do_PUT = do_DELETE = do_POST

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Gate:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def allow(self, wanted: Iterable[Use]) -> bool:
        """Note what is wanted; whether all of it is granted."""
        with self._lock:
            self.used.update(wanted)
            refused = {use for use in wanted if not self.policy.allows(use)}
            self.denied |= refused
        return not refused

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Forward a request, or refuse it."""
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        signed_for = request.headers["Authorization"].split("Credential=")[1].split("/")[3]
        wanted = uses(signed_for, dict(request.headers), request.command, request.path, body)
        if not self.allow(wanted):
            self._refuse(request, signed_for)
            return
        status, headers, answer = self._forward(self._upstreams.get(signed_for, self._otherwise), request, body)
        if signed_for == "s3" and status == 404 and wanted[0].action.startswith("s3:GetObject"):
            # S3 tells that an object is not there to those only who may list the bucket.
            bucket = wanted[0].resource.partition("/")[0]
            if not self.allow([Use("s3:ListBucket", bucket)]):
                self._refuse(request, signed_for)
                return
        if status == 200 and "Range" in request.headers and request.command == "GET":
            status, headers, answer = _ranged(request.headers["Range"], headers, answer)
        self._answer(request, status, headers, answer)

    def _forward(self, upstream: str, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        parts = urlsplit(upstream)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(request.command, request.path, body=body, headers={**headers, "Host": parts.netloc})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), data

    @staticmethod
    def _refuse(request: BaseHTTPRequestHandler, service: str) -> None:
        if service == "s3":
            kind, body = "application/xml", b"<Error><Code>AccessDenied</Code><Message>not granted</Message></Error>"
        elif service == "sns":
            kind = "text/xml"
            body = b"<ErrorResponse><Error><Type>Sender</Type><Code>AuthorizationError</Code><Message>not granted</Message></Error></ErrorResponse>"
        else:
            kind, body = "application/x-amz-json-1.1", b'{"__type": "AccessDeniedException", "message": "not granted"}'
        Gate._answer(request, 403, [("Content-Type", kind)], body)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        request.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                request.send_header(name, value)
        request.send_header("Content-Length", length if request.command == "HEAD" else str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


def _ranged(wanted: str, headers: list[tuple[str, str]], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return what S3 would: the emulator forgets the range where a version is asked for."""
    first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
    part = body[first : last + 1]
    return 206, [*headers, ("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(body)}")], part


def unused(policy: Policy, used: Iterable[Use]) -> list[tuple[str, str]]:
    """Return what is granted and was never used."""
    seen = list(used)
    return [
        (action, resource)
        for action, resource in policy.pairs()
        if not any(use.action == action and matches(resource, use.resource) for use in seen)
    ]
