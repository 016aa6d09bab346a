"""Start local SageMaker: `python -m driftsonde.core.local.sagemaker --root DIR`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import uvicorn

from driftsonde.core.local.sagemaker.account import Account
from driftsonde.core.local.sagemaker.api import DroppableProtocol, build_app
from driftsonde.core.local.sagemaker.endpoints import EndpointCalls
from driftsonde.core.local.sagemaker.faults import Faults
from driftsonde.core.local.sagemaker.hosting import Hosting
from driftsonde.core.local.sagemaker.notify import Notifier
from driftsonde.core.local.sagemaker.objects import Objects
from driftsonde.core.local.sagemaker.operations import Operations
from driftsonde.core.local.sagemaker.pipelines import Pipelines
from driftsonde.core.local.sagemaker.progress import Progress
from driftsonde.core.local.sagemaker.registry import Registry
from driftsonde.core.local.sagemaker.rules import service
from driftsonde.core.local.sagemaker.runner import Runner
from driftsonde.core.local.sagemaker.settings import Settings
from driftsonde.core.local.sagemaker.tuning import Tuner

log = logging.getLogger("driftsonde.core.local.sagemaker")

EXIT_CONFIG = 78
_LAST_EVENTS_SECONDS = 2.0

_EPILOG = """
how to use it:
  S3 and SQS are reached like everywhere in AWS, by the environment: AWS_ENDPOINT_URL (the emulator),
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
  Clients set AWS_ENDPOINT_URL_SAGEMAKER=http://127.0.0.1:4570 and use SageMaker's API as usual; to invoke endpoints
  also AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, to the same address.

what runs a job (there is no container engine):
  training    AlgorithmSpecification.ContainerEntrypoint; or script mode (hyperparameters sagemaker_program and
              sagemaker_submit_directory); or the built-in algorithm, if the image's repository is an xgboost one
  tuning      the same, once for each point of a random search (Bayesian is answered by random search too)
  processing  AppSpecification.ContainerEntrypoint
  transform   models of the built-in xgboost image
  pipeline    definitions of one Processing step with AppSpecification.ContainerEntrypoint; {"Get": "Parameters.X"} is filled in
  endpoint    the same as transform; one process for each variant, whatever its number of instances
  `python` is the interpreter of the control plane. A program finds what would be /opt/ml in SAGEMAKER_BASE_DIR.
  A job's log is DIR/jobs/<kind>/<name>/log.txt.

for tests:
  GET  /_local/health    GET /_local/jobs    GET /_local/endpoints (calls and errors of each variant)
  POST /_local/faults    [{"op": "CreateTrainingJob", "times": 1, "code": "ThrottlingException", "after": false}]
                         code ConnectionDrop closes the connection; with "after" the work is done first
                         op Alarm is no call: it is an alarm that rolls back the next deployment which names alarms;
                         without it an alarm goes off when the new fleet answers with an error

SIGTERM ends the running programs and exits 0; their jobs are run again at the next start.
"""


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the command line; `argv` without the program's name, or None for the process's own."""
    parser = argparse.ArgumentParser(
        prog="python -m driftsonde.core.local.sagemaker",
        description="A SageMaker control plane for one machine: it answers AWS's API on 127.0.0.1 and really runs the jobs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or Settings.region
    add = parser.add_argument
    add("--root", type=Path, required=True, metavar="DIR", help="where the registry and the jobs' directories live; made if missing")
    add("--host", default=Settings.host, help="address to listen on (default %(default)s: whoever reaches it can run programs)")
    add("--port", type=int, default=Settings.port, help="port (default %(default)s)")
    add("--region", default=region, help="region in ARNs (default: of the environment, else us-east-1)")
    add("--account", default=Settings.account, help="account in ARNs (default %(default)s)")
    add("--events-queue-url", metavar="URL", help="SQS queue that gets state-change events as from EventBridge (default: none)")
    add("--duplicate-events", type=int, default=0, metavar="N", help="send each event N more times, as EventBridge may")
    least = "least time of a state (default %(default)s)"
    add("--min-state-seconds", type=float, default=Settings.min_state_seconds, metavar="S", help=least)
    add("--grace-seconds", type=float, default=Settings.grace_seconds, metavar="S", help="from SIGTERM to SIGKILL (default %(default)s)")
    add("--concurrency", type=int, default=Settings.concurrency, metavar="N", help="jobs at a time (default %(default)s)")
    add("--max-active-jobs", type=int, default=Settings.max_active_jobs, metavar="N", help="quota per kind (default %(default)s)")
    scale = "how long a second that an endpoint's deployment waits takes (default %(default)s)"
    add("--wait-scale", type=float, default=Settings.wait_scale, metavar="S", help=scale)
    add("--keep-files", action="store_true", help="keep the opt/ml tree of ended jobs (default: only the log)")
    values = vars(parser.parse_args(argv))
    return Settings(**{**values, "root": values["root"].resolve()})


class Server(uvicorn.Server):
    """Uvicorn without its signal handlers: it would raise the signal again and so never exit 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`."""
        yield


async def serve(settings: Settings) -> None:
    """Answer requests and run jobs until SIGTERM or SIGINT."""
    registry = Registry(settings.root / "sagemaker.sqlite")
    notifier = Notifier(settings.events_queue_url, duplicates=settings.duplicate_events)
    progress = Progress(registry, notifier)
    service()  # half a second that the first request should not pay
    async with Objects.open() as objects:
        runner, faults = Runner(settings, registry, progress, objects), Faults()
        hosting = Hosting(settings, registry, notifier, objects, faults)
        calls = EndpointCalls(Account(settings, registry), registry, hosting)
        tuner = Tuner(settings, registry, progress, runner)
        pipelines = Pipelines(settings, registry)
        app = build_app(Operations(settings, registry, progress, runner, tuner, calls, pipelines), hosting, faults)
        await runner.recover()
        await hosting.recover()
        await pipelines.recover()
        server = Server(
            uvicorn.Config(app, host=settings.host, port=settings.port, http=DroppableProtocol, log_config=None, access_log=False)
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
        telling, *tasks = (asyncio.create_task(work) for work in (notifier.run(), runner.run(), tuner.run(), hosting.run()))
        for task in tasks:  # without its runner it would accept jobs that never run
            task.add_done_callback(lambda _: setattr(server, "should_exit", True))
        log.info("local SageMaker answers on http://%s:%d; jobs live under %s", settings.host, settings.port, settings.root)
        await server.serve()
        for task in tasks:
            await _end(task)
        await pipelines.close()
        await hosting.close()
        await notifier.flush(_LAST_EVENTS_SECONDS)
        await _end(telling)
    registry.close()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for it; an error that had ended it is raised."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _lock(root: Path) -> IO[bytes]:
    """Hold the root for this process: two control planes would run every job twice."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (root / "control.lock").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def main() -> int:
    """Run the command; return its exit code."""
    settings = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per batch of a transform otherwise
    try:
        lock = _lock(settings.root)
    except BlockingIOError:
        print(f"another local SageMaker uses {settings.root}; stop it or give another --root", file=sys.stderr)
        return EXIT_CONFIG
    with lock:
        asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
