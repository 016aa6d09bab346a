"""A model's server as a child process, under SageMaker's contract for serving: `/ping` and `/invocations` on a port.

Batch transform runs one for the time of a job; an endpoint runs one for each variant for as long as the variant lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from driftsonde.core.local.sagemaker.container import XGBOOST, log_tail, no_engine, variables
from driftsonde.core.local.sagemaker.kinds import Json, is_xgboost
from driftsonde.core.local.sagemaker.objects import JobFailed, Objects
from driftsonde.core.local.sagemaker.process import Child, reap

_START_SECONDS = 60.0
_POLL = 0.05
_INVOCATION_SECONDS = 60.0  # AWS: a container has to answer within a minute


def serve_command(container: Json, environment: Json, what: str) -> list[str]:
    """Return the command that serves a container's model; `what` names who wants it.

    Raises:
        JobFailed: if its image cannot run here, or it has no artifact.
    """
    if not is_xgboost(container["Image"]) or "SAGEMAKER_PROGRAM" in environment:
        advice = "Models with a script of their own are served on AWS only." if "SAGEMAKER_PROGRAM" in environment else ""
        raise no_engine(container["Image"], f"{what} serves models of the built-in XGBoost image. {advice}".strip())
    if "ModelDataUrl" not in container:
        raise JobFailed(f"ClientError: the model of {container['Image']} has no ModelDataUrl")
    return [sys.executable, "-m", XGBOOST, "serve"]


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_ready(child: Child, client: httpx.AsyncClient, tail: Callable[[], str]) -> None:
    """Wait until the model's server answers `/ping`; `tail` returns the end of its log.

    Raises:
        JobFailed: if it ends, or does not answer in time.
    """
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while child.alive and asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if (await client.get("/ping", timeout=2.0)).status_code == httpx.codes.OK:
                return
        await asyncio.sleep(_POLL)
    raise JobFailed(f"AlgorithmError: the model's server did not answer /ping: {tail()}"[:1024])


class ModelServer:
    """The server of one variant, and the way to it. `start` makes one."""

    def __init__(self, child: Child, client: httpx.AsyncClient) -> None:
        self._child, self._client = child, client

    @classmethod
    async def start(cls, container: Json, home: Path, objects: Objects, *, grace: float) -> ModelServer:
        """Fetch the model into `home`, which is emptied first, and start its server; `grace` is from SIGTERM to SIGKILL.

        Raises:
            JobFailed: if the model cannot be fetched or served.
        """
        environment = container.get("Environment", {})
        argv = serve_command(container, environment, "An endpoint")
        base = home / "opt" / "ml"
        await reap(home)
        await asyncio.to_thread(_empty, home, base)
        await objects.fetch_tar(container["ModelDataUrl"], base / "model")
        port = free_port()
        env = {**variables(base, environment), "SAGEMAKER_BIND_TO_PORT": str(port)}
        try:
            child = await Child.start(argv, env=env, home=home, cwd=base, grace=grace)
        except OSError as exc:
            raise JobFailed(f"InternalServerError: the model's server could not be started: {exc}") from exc
        # No proxy from the environment: the server is a child of ours.
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_INVOCATION_SECONDS, trust_env=False)
        server = cls(child, client)
        try:
            await wait_ready(child, client, lambda: log_tail(home))
        except BaseException:
            await asyncio.shield(server.end())
            raise
        return server

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child.alive

    async def invoke(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
        """Return status, body and content type of its answer; 503 when there is none."""
        try:
            answer = await self._client.post("/invocations", content=body, headers=headers)
        except httpx.HTTPError as exc:
            return 503, f"the model's server did not answer: {exc!r}".encode(), "text/plain"
        return answer.status_code, answer.content, answer.headers.get("Content-Type", "application/octet-stream")

    async def end(self) -> None:
        """End the process and close the way to it."""
        await self._child.end()
        await self._client.aclose()


def _empty(home: Path, base: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700, parents=True)
    base.mkdir(parents=True)
