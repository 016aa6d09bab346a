"""Traces, from a drop to the jobs and messages that it leads to.

The context of a trace is a W3C `traceparent`; it is passed on whether or not anything is recorded. Spans are recorded by OpenTelemetry, where
the extra `tracing` is installed and its own variables ask for it (`OTEL_EXPORTER_OTLP_ENDPOINT`, or `OTEL_TRACES_EXPORTER=otlp`); only
then is it imported. A name of a span or an attribute is never taken from data, apart from names that are configured.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span, SpanProcessor

MAX_LENGTH: Final = 55
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_XRAY: Final = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})", re.ASCII)
_XRAY_PARENT: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_LAST_WORDS_SECONDS: Final = 2.0

Attributes = Mapping[str, str | int]

_current: ContextVar[str | None] = ContextVar("driftsonde_traceparent", default=None)
_recorder: _Recorder | None = None


def valid(traceparent: object) -> str | None:
    """Return a traceparent as version 00 writes it; None for anything else: nobody's data is refused because of its trace."""
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]) or not int(found[2], 16) or not int(found[3], 16):
        return None
    return f"00-{found[2]}-{found[3]}-{found[4]}"


def from_xray(header: str | None) -> str | None:
    """Return the traceparent of an `AWSTraceHeader`, e.g. `Root=1-5759e988-bd86…;Parent=53995c3f42cd8ad8;Sampled=1`."""
    parts = dict(item.strip().partition("=")[::2] for item in (header or "").split(";"))
    root, parent = _XRAY.fullmatch(parts.get("Root", "")), _XRAY_PARENT.fullmatch(parts.get("Parent", ""))
    if root is None or parent is None:
        return None
    return valid(f"00-{root[1]}{root[2]}-{parent[0]}-{'01' if parts.get('Sampled') == '1' else '00'}")


def current() -> str | None:
    """Return the traceparent that whatever is done now belongs to."""
    return _current.get()


def trace_id() -> str | None:
    """Return the id of the present trace."""
    here = _current.get()
    return here[3:35] if here else None


def exemplar(traceparent: str | None = None) -> dict[str, str] | None:
    """Return what a measurement is marked with: a trace that can be looked up, so none where nothing is recorded."""
    of = valid(traceparent) or _current.get()
    # The last bit says whether it was recorded.
    return {"trace_id": of[3:35]} if _recorder is not None and of is not None and int(of[-2:], 16) & 1 else None


@contextmanager
def span(name: str, traceparent: str | None = None, **attributes: str | int) -> Iterator[None]:
    """Do something as a part of a trace: that of `traceparent`, else the present one, else a new one."""
    parent = valid(traceparent) or _current.get()
    if _recorder is None:
        token = _current.set(parent or _fresh())
        try:
            yield
        finally:
            _current.reset(token)
        return
    recorded = _recorder.begin(name, parent, attributes)
    token = _current.set(_traceparent_of(recorded))
    try:
        yield
    except BaseException as exc:
        _recorder.failed(recorded, exc)
        raise
    finally:
        _current.reset(token)
        recorded.end()


def record(name: str, traceparent: str, seconds: float, **attributes: str | int) -> None:
    """Note something that took so long and has just ended, of which it was not known before which trace it belongs to."""
    if _recorder is not None and (parent := valid(traceparent)):
        _recorder.begin(name, parent, attributes, began=time.time_ns() - int(seconds * 1e9)).end()


def wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether OpenTelemetry's own variables ask for spans to be exported."""
    given = os.environ if environment is None else environment
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = given.get("OTEL_TRACES_EXPORTER", "")
    named = any(given.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    return exporter == "otlp" or (not exporter and named)


def start(service: str, processor: SpanProcessor | None = None) -> str | None:
    """Begin to record if that is asked for; returns what is wrong if it is and cannot be done.

    Args:
        service: `service.name` is `driftsonde-<service>`, unless `OTEL_SERVICE_NAME` says otherwise.
        processor: takes the spans in place of the exporter that the variables describe.
    """
    global _recorder
    if processor is None and not wanted():
        return None
    try:
        _recorder = _Recorder(service, processor)
    except ImportError as exc:
        return f"traces are asked for, and OpenTelemetry is not installed ({exc.name} is missing): pip install 'driftsonde-core[tracing]'"
    return None


def stop() -> None:
    """Export what is left and record nothing more; a collector that is away holds nobody up for long."""
    global _recorder
    if _recorder is not None:
        leaving = threading.Thread(target=_recorder.close, daemon=True)
        _recorder = None
        leaving.start()
        leaving.join(_LAST_WORDS_SECONDS)


class _Recorder:
    """OpenTelemetry. Its exporter works in a thread of its own, and drops spans rather than make anyone wait."""

    def __init__(self, service: str, processor: SpanProcessor | None) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        self._api = trace
        attributes = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"driftsonde-{service}"}
        self._provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or _exporting())
        self._tracer = self._provider.get_tracer("driftsonde")

    def begin(self, name: str, parent: str | None, attributes: Attributes, began: int | None = None) -> Span:
        api = self._api
        context = None
        if parent is not None:
            _, trace, of, flags = parent.split("-")
            remote = api.SpanContext(int(trace, 16), int(of, 16), is_remote=True, trace_flags=api.TraceFlags(int(flags, 16)))
            context = api.set_span_in_context(api.NonRecordingSpan(remote))
        # No context of OpenTelemetry's own is kept: ours is the one that crosses threads, queues and restarts.
        begun = self._tracer.start_span(name, context=context or api.set_span_in_context(api.INVALID_SPAN), start_time=began)
        for key, value in attributes.items():
            begun.set_attribute(f"driftsonde.{key}", value)
        return begun  # type: ignore[return-value]  # the SDK's own

    def failed(self, recorded: Span, exc: BaseException) -> None:
        """Say that it failed; the text of an error may hold an address that is secret."""
        recorded.set_status(self._api.StatusCode.ERROR, type(exc).__name__)

    def close(self) -> None:
        self._provider.shutdown()


def _exporting() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


def _traceparent_of(recorded: Span) -> str:
    of = recorded.get_span_context()
    return f"00-{of.trace_id:032x}-{of.span_id:016x}-{int(of.trace_flags):02x}"


def _fresh() -> str:
    """Return a new context. It claims to be sampled: who records nothing must not decide for those who do."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
