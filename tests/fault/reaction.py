"""What follows a detected drift: retrainers with a SageMaker, or a notifier with a web to post to, and the verifiers outside.

The test speaks for the detector: it publishes facts on a real bus, by the project's own bus code.
"""

from __future__ import annotations

import asyncio
import http.server
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import botocore.session
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from driftsonde.core.bus import connect_bus
from driftsonde.core.events import PREFIX, BaselineRef, DriftDetected, DriftResolved, DropRef, DropRejected, Event, Fact, WindowRef
from driftsonde.core.local.stack import ACCOUNT, REGION, ROLE, free_port
from driftsonde.core.names import job_name

from .buses import BusKind, make_bus
from .harness import http_get, rows_of, verify_outbox

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDINGS = {
    "done": {"plan.accepted", "training.started", "training.succeeded", "model.promoted", "batch.finished"},
    "held": {"model.held"},
    "refused": {"plan.refused"},
    "failed": {"training.failed", "batch.finished"},
    "waiting": {"plan.waiting", "approval.requested"},
    "rolled_back": {"deployment.finished"},
}
"""The last event of a plan in each state in which it may be left."""
TERMINAL = ENDINGS.keys() - {"waiting"}

OUT = '"$SAGEMAKER_BASE_DIR/processing/output"'
_SUMMARY = '{"train": 700, "validation": 100, "holdout": 200, "score": 50, "unlabelled": 0}'
STEPS: Mapping[str, str] = {
    "prepare": f"""
cd {OUT}
for part in train validation holdout score; do echo 1,2 >$part/data.csv; done
echo '{_SUMMARY}' >meta/summary.json
echo '{{"features": ["x"], "levels": {{}}}}' >meta/encoding.json
""",
    "train": 'echo model >"$SM_MODEL_DIR/model"',
    "evaluate": f"""echo '{{"challenger": 0.9, "rows": 500}}' >{OUT}/metrics/metrics.json""",
}
"""What the jobs run: shell scripts that write what the real steps write, in no time."""


def drift(monitor: str = "churn", episode: int = 1) -> DriftDetected:
    """Return what the detector says when an episode begins."""
    return DriftDetected(
        monitor=monitor, episode=episode, summary="x moved", columns=("x",),
        window=WindowRef(id=f"w{episode}", rows=1000, start=NOON, end=NOON + timedelta(hours=1)),
        baseline=BaselineRef(version=1, digest="b" * 32, rows=5000),
        drops=(DropRef(bucket="acme", key=f"in/{monitor}/{episode}.parquet", etag="e", rows=1000),),
    )  # fmt: skip


def resolved(monitor: str = "churn", episode: int = 1) -> DriftResolved:
    """Return what the detector says when an episode ends."""
    return DriftResolved(monitor=monitor, episode=episode, sequence=2, kind="drift", cause="recovered")


def rejected(number: int, reason: str = "unreadable") -> DropRejected:
    """Return what the detector says of a drop that it cannot read."""
    drop = DropRef(bucket="acme", key=f"in/{number}.parquet", version="v1")
    return DropRejected(monitor="churn", drop=drop, reason=reason, message="truncated")


class Processes:
    """A bus, one service in one or more replicas, their database, and what else a test starts.

    Args:
        service: `retrainer` or `notifier`.
        emulator: where the emulator of AWS answers.
        folder: for state and logs.
        database: SQLAlchemy URL of the service's state.
        replicas: how many of the service.
        environment: more variables of the service.
        bus_kind: which bus it hangs on.
    """

    def __init__(
        self, service: str, emulator: str, folder: Path, database: str, *, replicas: int = 1, environment: Mapping[str, str] | None = None,
        bus_kind: BusKind = "nats",
    ) -> None:  # fmt: skip
        self.service, self.emulator, self.folder, self.database = service, emulator, folder, database
        self.environment = dict(environment or {})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {f"{service}{number}": free_port() for number in range(replicas)}
        self.bus = make_bus(bus_kind, emulator, folder)
        self.config = folder / "driftsonde.yaml"
        driver = "sqlite" if database.startswith("sqlite") else "postgresql+psycopg"
        self.engine = create_engine(make_url(database).set(drivername=driver))
        self.published: list[Fact] = []
        self._attempts = itertools.count()

    def __enter__(self) -> Self:
        try:
            self.bus.start()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what still runs: orderly, because SageMaker's jobs must end too."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.bus.close()
        self.engine.dispose()

    # Processes

    def start(self) -> None:
        """Start every replica that does not run, and wait until all are ready."""
        for name in self.ports:
            if name not in self.processes or self.processes[name].poll() is not None:
                self.launch(name)
        for name in self.ports:
            self.until(lambda name=name: self.get(name, "/readyz")[0] == 200, f"{name} ready")

    def launch(self, name: str, wrapper: Sequence[str] = ()) -> None:
        """Start one replica without waiting; `wrapper`: what Python runs instead of the service."""
        settings = {
            **self.aws_environment(),
            "DRIFTSONDE_CONFIG": str(self.config), "DRIFTSONDE_DATABASE_URL": self.database,
            "DRIFTSONDE_BUS_URL": self.bus.url, "DRIFTSONDE_PORT": str(self.ports[name]), "DRIFTSONDE_REPLICAS": str(len(self.ports)),
            "DRIFTSONDE_POLL_JOBS_SECONDS": "0.5", "DRIFTSONDE_POLL_SECONDS": "1",
        }  # fmt: skip
        self.spawn(
            name,
            [sys.executable, *(wrapper or ("-m", f"driftsonde.{self.service}"))],
            {**settings, **self.bus.environment, **self.environment},
        )

    def spawn(self, name: str, command: list[str], settings: Mapping[str, str]) -> None:
        """Start a process; its log is `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT)

    def kill(self, name: str) -> None:
        """End a process without warning."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def restart(self) -> None:
        """End every replica as an operator does, and start it again."""
        for name in self.ports:
            self.processes[name].terminate()
        for name in self.ports:
            assert self.processes[name].wait(25) == 0, self.log(name)[-2000:]
        self.start()

    def aws_environment(self) -> dict[str, str]:
        """Return the variables that point AWS clients at the stand-ins."""
        return {
            "AWS_ENDPOINT_URL": self.emulator, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def aws(self, service: str) -> Any:
        """Return a client of the emulator."""
        return botocore.session.get_session().create_client(
            service, endpoint_url=self.emulator, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
        )

    # What the detector does

    def publish(self, *facts: Fact, copies: int = 1) -> None:
        """Publish facts in order, or copies of them all at once; the broker takes none of them for a duplicate."""

        async def act() -> None:
            bus = connect_bus(self.bus.url)
            async with bus.running():
                for fact in facts:
                    event = Event.of(fact, time=NOON)
                    await asyncio.gather(*(bus.publish(event, attempt=next(self._attempts)) for _ in range(copies)))

        with patch.dict(os.environ, {**self.aws_environment(), **self.bus.environment}):
            asyncio.run(act())
        self.published += [fact for fact in facts if fact not in self.published]

    # What can be seen from outside

    def heard(self) -> bool:
        """Whether the service has settled every event that it asked for."""
        return self.bus.heard(self.service)

    def dead(self) -> bool:
        """Whether the first replica has died."""
        return self.processes[next(iter(self.ports))].poll() is not None

    def all_published(self) -> bool:
        """Whether no event waits in the outbox."""
        return self.query("select count(*) from outbox where published_at is null") == [(0,)]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return rows_of(self.engine, statement)

    def execute(self, *statements: str) -> None:
        """Change the database behind the service's back."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def get(self, name: str, path: str) -> tuple[int, str]:
        """Ask a replica over HTTP; status 0 if it does not answer."""
        return http_get(self.ports[name], path)

    def log(self, name: str = "") -> str:
        """Return what a process has said; by default the first replica."""
        return (self.folder / f"{name or next(iter(self.ports))}.log").read_text(errors="replace")

    def until(self, condition: Any, what: str, seconds: float = 30.0) -> None:
        """Wait for something."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not in {seconds:.0f} s\n{self.log()[-3000:]}"
            time.sleep(0.05)


class Retraining(Processes):
    """Retrainers, and a SageMaker whose jobs are the scripts of `steps`.

    Args:
        monitors: their names.
        retrain: keys of each monitor's retrain section.
        recipe: keys of the recipe.
        budget: training jobs per day.
        steps: scripts instead of `STEPS`.
        sagemaker: more arguments of local SageMaker.
        others: as `Processes`.
    """

    def __init__(
        self, emulator: str, folder: Path, database: str, *, monitors: Sequence[str] = ("churn",), retrain: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None, budget: int = 1000, steps: Mapping[str, str] | None = None,
        sagemaker: Sequence[str] = (), **others: Any,
    ) -> None:  # fmt: skip
        super().__init__("retrainer", emulator, folder, database, **others)
        self.sagemaker_port, self._sagemaker = free_port(), sagemaker
        self.bucket = f"bucket-{uuid.uuid4().hex[:10]}"
        self.aws("s3").create_bucket(Bucket=self.bucket)
        command = {name: ["sh", str(self._script(name, body))] for name, body in {**STEPS, **(steps or {})}.items()}
        policy = {"recipe": "tiny", "cooldown": "0s", "max_per_day": 100, **(retrain or {})}
        tiny: dict[str, Any] = {
            "role": ROLE, "output": f"s3://{self.bucket}/out/", "batch": {"enabled": False},
            "steps": {"prepare": command["prepare"], "evaluate": command["evaluate"]},
            "training": {"image": "own", "command": command["train"]},
        }  # fmt: skip
        for key, value in (recipe or {}).items():
            tiny[key] = {**tiny.get(key, {}), **value}
        config = {
            "monitors": [
                {"name": name, "drops": f"s3://{self.bucket}/in/{name}/", "baseline": f"s3://{self.bucket}/base/",
                 "columns": {"label": "churned"}, "retrain": policy}
                for name in monitors
            ],
            "recipes": {"tiny": tiny},
            "budget": {"training_jobs_per_day": budget},
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(config))

    def start(self) -> None:
        """Start SageMaker if it does not run, and the retrainers."""
        if "sagemaker" not in self.processes:
            command = [
                sys.executable, "-m", "driftsonde.core.local.sagemaker", "--port", str(self.sagemaker_port),
                "--root", str(self.folder / "sagemaker"), "--min-state-seconds", "0.01", "--grace-seconds", "1", "--concurrency", "4",
                *self._sagemaker,
            ]  # fmt: skip
            self.spawn("sagemaker", command, self.aws_environment())
        super().start()
        self.until(self._sagemaker_answers, "SageMaker")

    def aws_environment(self) -> dict[str, str]:
        """Return the variables, SageMaker's endpoint among them."""
        return {**super().aws_environment(), "AWS_ENDPOINT_URL_SAGEMAKER": self.sagemaker_url}

    @property
    def sagemaker_url(self) -> str:
        """Where SageMaker answers."""
        return f"http://127.0.0.1:{self.sagemaker_port}"

    def _script(self, name: str, body: str) -> Path:
        path = self.folder / f"{name}.sh"
        path.write_text(f"set -e\n{body}\n")
        return path

    def _sagemaker_answers(self) -> bool:
        try:
            return bool(self._local("/_local/health"))
        except OSError:
            return False

    def _local(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.sagemaker_url}{path}", data), timeout=10) as answer:
            return json.load(answer)

    def ask_sagemaker(self, operation: str, **request: Any) -> Any:
        """Call SageMaker's API as any client of the account may."""
        headers = {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        call = urllib.request.Request(self.sagemaker_url, json.dumps(request).encode(), headers)
        with urllib.request.urlopen(call, timeout=10) as answer:
            return json.load(answer)

    def name_of(self, step: str, monitor: str = "churn", episode: int = 1) -> str:
        """Return the name that a step's first job will have: anybody can know it."""
        ((store,),) = self.query("select uuid from identity")
        return job_name(monitor, step, "default", store, monitor, episode, step, 1)

    def occupy(self, name: str) -> None:
        """Create a processing job that is not ours and does not end."""
        self.ask_sagemaker(
            "CreateProcessingJob", ProcessingJobName=name, RoleArn=ROLE,
            AppSpecification={"ImageUri": "theirs", "ContainerEntrypoint": ["sleep", "600"]},
            ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        )  # fmt: skip

    def script_faults(self, *faults: Mapping[str, Any]) -> None:
        """Have SageMaker's next calls fail."""
        self._local("/_local/faults", list(faults))

    def jobs(self, step: str = "") -> list[dict[str, str]]:
        """Return SageMaker's jobs, of one step or all: name, kind, status."""
        return [job for job in self._local("/_local/jobs") if f"-{step}" in job["name"]]

    def plans(self) -> dict[str, str]:
        """Return each plan's state."""
        return dict(row for row in self.query("select id, state from plan"))

    def said(self, plan: str = "churn-1") -> list[dict[str, Any]]:
        """Return what was announced of a plan, oldest first: the facts with their `type`."""
        return [fact for fact in self._facts() if fact["plan"] == plan]

    def last_said(self) -> dict[str, dict[str, Any]]:
        """Return what was announced last of each plan."""
        return {fact["plan"]: fact for fact in self._facts()}

    def _facts(self) -> list[dict[str, Any]]:
        events = [json.loads(body) for (body,) in self.query("select body from outbox order by id")]
        return [{"type": event["type"].removeprefix(f"{PREFIX}."), **event["data"]} for event in events if "plan" in event["data"]]

    def an_hour_passes(self) -> None:
        """Have everything that waits be due."""
        self.execute("update plan set until = created_at where until is not null")

    def ended(self, seconds: float = 30.0, /, **states: int) -> None:
        """Wait until so many plans are in each state, no other, and all is published."""
        self.until(lambda: Counter(self.plans().values()) == states, f"{states}", seconds)
        self.until(self.all_published, "all events published", seconds)

    def verify(self, *, foreign: Sequence[str] = ()) -> None:
        """Check what is promised whatever happened: each episode ended visibly, said once how, and no job was made twice.

        Args:
            foreign: names of jobs that are not ours.
        """
        episodes = {f"{fact.monitor}-{fact.episode}" for fact in self.published if isinstance(fact, DriftDetected)}
        plans, over = self.plans(), {f"{fact.monitor}-{fact.episode}" for fact in self.published if isinstance(fact, DriftResolved)}
        assert set(plans) == episodes, f"episodes without a plan: {sorted(episodes - set(plans))}"
        facts = self._facts()
        by_plan = {plan: list(mine) for plan, mine in itertools.groupby(sorted(facts, key=lambda f: f["plan"]), lambda f: f["plan"])}
        for plan, state in plans.items():
            said = by_plan.get(plan, [])
            last = said[-1]["type"] if said else "nothing"
            assert last in ENDINGS.get(state, ()), f"{plan} is {state}, and the last that was said of it is {last}"
            assert plan not in over or state in TERMINAL, f"{plan} is {state}, and its episode is over"
            numbers = Counter(fact["sequence"] for fact in said)
            assert max(numbers.values()) == 1, f"said twice of {plan}: {numbers.most_common(3)}"
        self._verify_jobs(set(foreign))
        verify_outbox(self.query, self.bus, "retrainer")

    def _verify_jobs(self, foreign: set[str]) -> None:
        ours = {job["name"] for job in self.jobs()} - foreign
        identities = Counter(self._identity(job) for job in self.jobs() if job["name"] in ours)
        assert all(count == 1 for count in identities.values()), f"made twice: {identities.most_common(3)}"
        assert {identity.rpartition("/")[2] for identity in identities} <= {"1", "2"}, f"tried more than twice: {sorted(identities)}"
        noted = {name: (plan, state) for name, plan, state in self.query("select name, plan, state from job")}
        assert ours <= noted.keys(), f"jobs that no plan knows: {sorted(ours - noted.keys())}"
        made = {name for name, (_, state) in noted.items() if state in ("created", "succeeded")}
        assert made <= ours, f"noted as made, and unknown to SageMaker: {sorted(made - ours)}"
        trained = {plan for plan, state in self.plans().items() if state in ("done", "held")}
        budgeted = Counter(plan for (plan,) in self.query("select plan from budget"))
        assert trained <= budgeted.keys(), f"trained without budget: {sorted(trained - budgeted.keys())}"

    def _identity(self, job: Mapping[str, str]) -> str:
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{job['kind']}-job/{job['name']}"
        tags = self.ask_sagemaker("ListTags", ResourceArn=arn)["Tags"]
        return next((str(tag["Value"]) for tag in tags if tag["Key"] == "driftsonde:identity"), f"{job['name']} has no identity")


@dataclass(frozen=True)
class Answer:
    """What a web server says to a request; `delay` in seconds."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True)
class Post:
    """What a web server got, when, and what it said."""

    path: str
    body: bytes
    at: float
    status: int

    @property
    def text(self) -> str:
        """The message, as Slack shows it in a notification."""
        return str(json.loads(self.body)["text"])

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent that a webhook got."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Web:
    """An HTTP server scripted by path: first what `next` holds, then what `always` says, else `ok` or what `relay` answers."""

    def __init__(self, relay: str = "") -> None:
        self.posts: list[Post] = []
        self.next: dict[str, list[Answer]] = {}
        self.always: dict[str, Answer] = {}
        self._relay, self._lock = relay, threading.Lock()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                answer = web._answer(self, body)
                time.sleep(answer.delay)
                data = answer.body.encode()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def at(self, path: str, *, accepted: bool | None = None) -> list[Post]:
        """Return what came to a path; only what was accepted, or refused."""
        return [post for post in self.posts if post.path == path and accepted in (None, post.status == 200)]

    def _answer(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> Answer:
        with self._lock:
            waiting = self.next.get(request.path)
            answer = waiting.pop(0) if waiting else self.always.get(request.path)
        if answer is None:
            answer = self._ask(request, body) if self._relay else Answer()
        with self._lock:
            self.posts.append(Post(request.path, body, time.monotonic(), answer.status))
        return answer

    def _ask(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        try:
            with urllib.request.urlopen(urllib.request.Request(self._relay + request.path, body, headers)) as answer:
                return Answer(answer.status, answer.read().decode(), {"Content-Type": answer.headers["Content-Type"]})
        except urllib.error.HTTPError as exc:
            return Answer(exc.code, exc.read().decode(), {"Content-Type": exc.headers["Content-Type"]})


class Notifying(Processes):
    """A notifier and its channels.

    Args:
        channels: by name: `slack` or `webhook` (an address of `web`, at `/<name>`), or the ARN of a topic.
        web: where webhooks lead.
        monitors: their names; each tells every channel.
        others: as `Processes`.
    """

    def __init__(
        self, emulator: str, folder: Path, database: str, web: Web, *, channels: Mapping[str, str], monitors: Sequence[str] = ("churn",),
        **others: Any,
    ) -> None:  # fmt: skip
        super().__init__("notifier", emulator, folder, database, **others)
        self.web, self.channels = web, channels
        for name, kind in channels.items():
            if not kind.startswith("arn:"):
                self.point(name, f"{web.url}/{name}")
        config = {
            "monitors": [
                {"name": name, "drops": f"s3://acme/in/{name}/", "baseline": "s3://acme/base/", "notify": list(channels)}
                for name in monitors
            ],
            "channels": {name: self._channel(name, kind) for name, kind in channels.items()},
        }
        self.config.write_text(yaml.safe_dump(config))

    def _channel(self, name: str, kind: str) -> dict[str, Any]:
        if kind.startswith("arn:"):
            return {"type": "sns", "topic_arn": kind}
        key = "webhook_file" if kind == "slack" else "url_file"
        return {"type": kind, key: str(self.folder / f"{name}.url"), "allow_private": True}

    def point(self, channel: str, url: str) -> None:
        """Write a channel's address; read at the next start."""
        (self.folder / f"{channel}.url").write_text(url)

    def deliveries(self, channel: str) -> Counter[str]:
        """Return how many deliveries of a channel are in each state."""
        found = self.query(f"select state, count(*) from delivery where channel = '{channel}' group by state")
        return Counter(dict(found))

    def ended(self, channel: str, **states: int) -> None:
        """Wait until so many deliveries of a channel are in each state, and no other."""
        self.until(lambda: self.deliveries(channel) == states, f"{channel}: {states}")

    def metric(self, name: str, channel: str) -> float:
        """Return a gauge of a channel."""
        _, page = self.get("notifier0", "/metrics")
        wanted = f'driftsonde_notifier_{name}{{channel="{channel}"}} '
        return next(float(line.removeprefix(wanted)) for line in page.splitlines() if line.startswith(wanted))

    def verify(self, *webhooks: str, crashes: int = 0) -> None:
        """Check what is promised whatever happened: each event is queued once for each channel, and each episode reached each webhook.

        Args:
            webhooks: the channels of that type that accept by now.
            crashes: how often the notifier died; a channel may hear as much twice.
        """
        rows = Counter(self.query("select event_id, channel from delivery"))
        wanted = {(Event.of(fact, time=NOON).id, channel) for fact in self.published for channel in self.channels}
        assert set(rows) == wanted, f"without a delivery: {sorted(wanted - set(rows))}"
        assert all(count == 1 for count in rows.values())
        alarms = {Event.of(fact, time=NOON).id for fact in self.published if isinstance(fact, DriftDetected)}
        for channel in webhooks:
            accepted = Counter(post.event["id"] for post in self.web.at(f"/{channel}", accepted=True))
            noted = {name for (name,) in self.query(f"select event_id from delivery where channel = '{channel}' and state = 'delivered'")}
            assert alarms | noted <= set(accepted), f"{channel} never heard of {sorted((alarms | noted) - set(accepted))}"
            assert sum(accepted.values()) - len(accepted) <= crashes, f"{channel} heard twice: {accepted.most_common(3)}"
        ended = "('delivered', 'refused', 'expired')"
        ends = Counter(self.query(f"select event_id, channel from delivery where state in {ended}"))
        said = [json.loads(body)["data"] for (body,) in self.query("select body from outbox")]
        told = Counter((fact["event_id"], fact["channel"]) for fact in said)
        assert ends.keys() <= told.keys(), f"deliveries that ended and were not announced: {sorted(ends - told)}"
        verify_outbox(self.query, self.bus, "notifier")
