"""A trace goes from message to job tag, with OpenTelemetry and without it; measurements are marked with it where it is recorded."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from driftsonde.core import tracing
from driftsonde.core.aws.queue import SqsLease, SqsQueue
from driftsonde.core.events import DeliveryFinished, Event, parse_event
from driftsonde.core.lifecycle import Health, health_routes, serve_http
from driftsonde.core.log import _add_trace
from driftsonde.core.store.engine import Database
from driftsonde.core.testing.queue import MemoryQueue
from driftsonde.retrainer import store as retrainer_store
from unit.detector.support import NOON, Rig, drop_body, message
from unit.notifier.support import detected, http_rig, scripted_server
from unit.retrainer.conftest import Retrainer, make_config

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    """Spans, recorded in this process."""
    exporter = InMemorySpanExporter()
    assert tracing.start("detector", SimpleSpanProcessor(exporter)) is None
    yield exporter
    tracing.stop()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (PARENT, PARENT),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-will-be", PARENT),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (PARENT.upper(), None),
        (f"{PARENT}\n", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_traceparent_is_taken_as_w3c_says_or_not_at_all(given: object, expected: str | None) -> None:
    assert tracing.valid(given) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"),
        ("Sampled=0; Parent=53995c3f42cd8ad8; Root=1-5759e988-bd862e3fe1be46a994272793", "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00"),
        ("Root=1-5759e988-bd862e3fe1be46a994272793", None),
        ("Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8", None),
        ("nonsense", None),
        (None, None),
    ],
)  # fmt: skip
def test_xray_header_becomes_a_traceparent(header: str | None, expected: str | None) -> None:
    assert tracing.from_xray(header) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
    ],
)
def test_opentelemetry_is_on_when_its_own_variables_say_so(variables: dict[str, str], expected: bool) -> None:
    assert tracing.wanted(variables) is expected


def test_without_the_extra_context_is_passed_on_and_nothing_is_imported() -> None:
    program = f"""
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Without())
import driftsonde.detector.app, driftsonde.retrainer.app, driftsonde.notifier.app
from driftsonde.core import tracing
assert "is not installed" in tracing.start("detector")
with tracing.span("drop", {PARENT!r}):
    assert tracing.current() == {PARENT!r} and tracing.exemplar() is None
with tracing.span("drop"):
    first = tracing.current()
    with tracing.span("commit"):
        assert tracing.current() == first == tracing.valid(first)
assert tracing.current() is None
tracing.stop()
print("ok")
"""
    environment = {"OTEL_TRACES_EXPORTER": "otlp", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok\n"


def test_services_do_not_import_opentelemetry_unless_it_is_asked_for() -> None:
    program = """
import sys
import driftsonde.detector.app, driftsonde.retrainer.app, driftsonde.notifier.app
from driftsonde.core import tracing
assert tracing.start("detector") is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env={"PATH": ""})
    assert done.stdout == "[]\n"


def test_spans_nest_and_errors_are_named_without_their_text(recorded: InMemorySpanExporter) -> None:
    def fail() -> None:
        with tracing.span("drop", PARENT, kind="created"):
            with tracing.span("commit"):
                assert tracing.exemplar() == {"trace_id": TRACE}
            raise ValueError("secret address")

    with pytest.raises(ValueError, match="secret"):
        fail()
    inner, outer = recorded.get_finished_spans()
    assert (inner.name, outer.name) == ("commit", "drop")
    assert inner.parent is not None
    assert outer.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert f"{outer.parent.span_id:016x}" == PARENT.split("-")[2]
    assert {f"{span.context.trace_id:032x}" for span in (inner, outer)} == {TRACE}
    assert dict(outer.attributes or {}) == {"driftsonde.kind": "created"}
    assert (outer.status.description, outer.events) == ("ValueError", ())


def test_trace_that_others_do_not_record_marks_no_measurement(recorded: InMemorySpanExporter) -> None:
    with tracing.span("drop", f"{PARENT[:-2]}00"):
        assert tracing.exemplar() is None
    assert recorded.get_finished_spans() == ()


def test_log_line_names_the_trace_it_belongs_to() -> None:
    assert "trace_id" not in _add_trace(None, "info", {"event": "x"})
    with tracing.span("drop", PARENT):
        assert _add_trace(None, "info", {"event": "x"})["trace_id"] == TRACE


async def test_threads_and_tasks_know_the_trace_of_whoever_started_them() -> None:
    with tracing.span("drop", PARENT):
        assert await asyncio.to_thread(tracing.trace_id) == TRACE
    with tracing.span("another"):
        assert await asyncio.to_thread(tracing.trace_id) != TRACE


def test_event_carries_its_trace_and_its_id_does_not_depend_on_it() -> None:
    fact = DeliveryFinished(monitor="churn", channel="ops", event_id="e", outcome="delivered")
    plain, traced = Event.of(fact, time=NOON), Event.of(fact, time=NOON, traceparent=PARENT)
    assert plain.id == traced.id
    assert "traceparent" not in json.loads(plain.to_json())
    assert json.loads(traced.to_json())["traceparent"] == PARENT
    assert parse_event(traced.to_json()) == traced


def test_event_with_a_trace_that_is_none_is_taken_without_it() -> None:
    fact = DeliveryFinished(monitor="churn", channel="ops", event_id="e", outcome="delivered")
    body = json.loads(Event.of(fact, time=NOON).to_json()) | {"traceparent": "my own"}
    assert parse_event(json.dumps(body).encode()).traceparent is None


def lease(attributes: dict[str, str], said: str | None = None) -> SqsLease:
    given = {"traceparent": {"StringValue": said, "DataType": "String"}} if said else {}
    return SqsLease(SqsQueue(None, "http://q"), {"ReceiptHandle": "r", "Body": "{}", "Attributes": attributes, "MessageAttributes": given})


def test_message_tells_its_trace_by_attribute_or_by_xray_header() -> None:
    xray = {"AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"}
    assert lease(xray).traceparent == "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"
    assert lease(xray, PARENT).traceparent == PARENT
    assert lease({}, "nonsense").traceparent is None


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(f"sqlite:///{tmp_path}/detector.db")
    yield made
    made.close()


async def judged(rig: Rig, traceparent: str | None, *, later: bool = False) -> Event:
    """Have a message's drop judged; returns the event that it leads to."""
    if not later:
        await rig.adopt()
    rig.queue = MemoryQueue(message(rig.put("in/1", drop_body(400, 2.0))), traceparent=traceparent)
    (taken,) = await rig.queue.receive(1)
    await rig.intake.handle(taken)
    if later:
        await rig.adopt()
        assert await rig.pending.take() == 1
    await rig.judge.sweep()
    return next(event for event in await rig.say() if event.type.endswith("drift.detected"))


@pytest.mark.parametrize("later", [False, True], ids=["at once", "after its baseline"])
async def test_trace_goes_from_message_to_event_to_plan_to_job_tag(rig: Rig, tmp_path: Path, later: bool) -> None:
    event = await judged(rig, PARENT, later=later)
    assert event.traceparent == PARENT
    database = Database(f"sqlite:///{tmp_path}/retrainer.db")
    database.create_all(retrainer_store.metadata)
    retrainer = Retrainer(database, make_config())
    fact = event.data.model_copy(update={"monitor": "churn-0", "trainable": True})
    await retrainer.handlers.handle(event.model_copy(update={"subject": "churn-0", "data": fact}))
    retrainer.restart()  # nothing but what is stored goes on
    await retrainer.rounds()
    database.close()
    ((_, created),) = retrainer.jobs.created.values()
    assert {tag["Key"]: tag["Value"] for tag in created["Tags"]}["driftsonde:trace"] == PARENT


async def test_drop_of_a_message_without_a_trace_begins_one(rig: Rig) -> None:
    event = await judged(rig, None)
    assert event.traceparent is not None
    assert tracing.valid(event.traceparent) == event.traceparent


async def test_drops_that_are_written_in_one_transaction_keep_their_own_traces(rig: Rig) -> None:
    await rig.adopt()
    traces = {f"in/{number}": f"00-{number + 1:032x}-00f067aa0ba902b7-01" for number in range(6)}

    async def one(key: str, trace: str) -> None:
        (taken,) = await MemoryQueue(message(rig.put(key, drop_body())), traceparent=trace).receive(1)
        await rig.intake.handle(taken)

    await asyncio.gather(*(one(*item) for item in traces.items()))
    assert {row["key"]: row["trace"] for row in rig.select("object") if row["outcome"] != "pending"}.items() <= traces.items()
    assert {row["window"].rpartition("acme/")[2]: row["trace"] for row in rig.select("dirty")}.items() <= traces.items()
    assert rig.select("dirty")


async def test_drop_is_one_trace_of_spans_and_marks_its_measurements(rig: Rig, recorded: InMemorySpanExporter) -> None:
    event = await judged(rig, PARENT)
    assert event.traceparent is not None
    assert event.traceparent.split("-")[1] == TRACE
    mine = [span for span in recorded.get_finished_spans() if f"{span.context.trace_id:032x}" == TRACE]
    assert {span.name for span in mine} == {"drop", "commit", "evaluate", "publish"}
    marked = {
        sample.labels.get("stage", "event_to_verdict"): sample.exemplar.labels
        for family in rig.metrics.registry.collect()
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert marked.keys() == {"read", "sketch", "commit", "evaluate", "publish", "event_to_verdict"}
    assert all(labels == {"trace_id": TRACE} for labels in marked.values())


async def test_webhook_is_told_the_trace_and_the_delivery_announces_it(tmp_path: Path) -> None:
    async with scripted_server() as server, http_rig(tmp_path, {}, {"ops": server}) as rig:
        await rig.bus.publish(Event.of(detected(), time=NOON, traceparent=PARENT))
        await rig.bus.drain()
        await rig.deliver()
        (request,) = server.requests
        assert request.headers["traceparent"] == PARENT
        with rig.database.read() as connection:
            (body,) = connection.exec_driver_sql("select body from outbox").scalars()
        assert json.loads(body)["traceparent"] == PARENT


def registry_with_exemplar() -> CollectorRegistry:
    registry = CollectorRegistry()
    Histogram("driftsonde_test_seconds", "Time.", registry=registry).observe(0.2, {"trace_id": TRACE})
    return registry


@contextmanager
def no_noise() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


async def answer(accept: str | None) -> httpx.Response:
    async with serve_http(health_routes(Health(), registry_with_exemplar()), "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept} if accept else {"accept": ""})


async def test_openmetrics_is_given_to_those_who_ask_and_holds_the_exemplar() -> None:
    # As Prometheus 3 asks.
    got = await answer("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1")
    assert got.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    (family,) = parse_openmetrics(got.text)  # type: ignore[no-untyped-call]  # it has no types
    assert [sample.exemplar.labels for sample in family.samples if sample.exemplar is not None] == [{"trace_id": TRACE}]


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain;version=0.0.4"])
async def test_others_are_given_the_older_text_without_exemplars(accept: str | None) -> None:
    got = await answer(accept)
    assert got.headers["content-type"].startswith("text/plain; version=")
    assert TRACE not in got.text
    assert next(family.name for family in parse_text(got.text)) == "driftsonde_test_seconds"


async def test_rendering_metrics_leaves_the_event_loop_free() -> None:
    names: list[str] = []

    class Slow:
        def collect(self) -> Iterator[Any]:
            names.append(threading.current_thread().name)
            yield from ()

    registry = CollectorRegistry()
    registry.register(Slow())
    names.clear()
    async with serve_http(health_routes(Health(), registry), "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        for accept in ("application/openmetrics-text; version=1.0.0", "text/plain"):
            await client.get(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept})
    assert len(names) == 2
    assert threading.main_thread().name not in names


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A receiver of OTLP over HTTP."""
    got: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def point(url: str) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_SERVICE_NAME"):
            monkeypatch.delenv(name, raising=False)

    return point


async def test_collector_gets_the_spans_of_a_drop(rig: Rig, variables: Callable[[str], None]) -> None:
    with collector() as (url, got):
        variables(url)
        assert tracing.start("detector") is None
        await judged(rig, PARENT)
        await asyncio.to_thread(tracing.stop)
    resources = [resource for request in got for resource in request.resource_spans]
    names = {item.value.string_value for one in resources for item in one.resource.attributes if item.key == "service.name"}
    spans = {span.name: span for one in resources for scope in one.scope_spans for span in scope.spans if span.trace_id.hex() == TRACE}
    assert names == {"driftsonde-detector"}
    assert spans.keys() == {"drop", "commit", "evaluate", "publish"}
    assert spans["commit"].parent_span_id == spans["drop"].span_id
    assert {spans[name].parent_span_id for name in ("evaluate", "publish")} == {spans["commit"].span_id}


def test_collector_that_is_away_holds_nobody_up_at_the_end(variables: Callable[[str], None]) -> None:
    variables("http://127.0.0.1:9")  # nothing listens there
    with no_noise():
        assert tracing.start("notifier") is None
        with tracing.span("deliver"):
            pass
        leaving = threading.Thread(target=tracing.stop)
        leaving.start()
        leaving.join(10)
    assert not leaving.is_alive()


async def test_delivery_marks_its_time_with_the_trace_of_its_event(tmp_path: Path, recorded: InMemorySpanExporter) -> None:
    async with scripted_server() as server, http_rig(tmp_path, {}, {"ops": server}) as rig:
        await rig.bus.publish(Event.of(detected(), time=NOON, traceparent=PARENT))
        await rig.bus.drain()
        await rig.deliver()
        (delivered,) = (span for span in recorded.get_finished_spans() if span.name == "deliver")
        marked = [sample for family in rig.metrics.registry.collect() for sample in family.samples if sample.exemplar is not None]
    assert f"00-{TRACE}-{delivered.context.span_id:016x}-01" == server.requests[0].headers["traceparent"]
    assert [(sample.name, sample.exemplar.labels) for sample in marked if sample.exemplar] == [
        ("driftsonde_notifier_send_seconds_bucket", {"trace_id": TRACE})
    ]
