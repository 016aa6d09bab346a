"""JSON logs on standard error, with what is bound to the task (monitor, drop, episode) on every line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from driftsonde.core import tracing

# To the last @ of a word: a password may hold slashes, and an @ of its own.
_URL_SECRETS = re.compile(
    r"(?P<scheme>\b(?!s3:)[a-z][a-z0-9+.-]*://)[^\s\"'<>]*@|(?P<hook>https?://[^/\s]*slack[^/\s]*/services/)[^\s\"']+", re.IGNORECASE
)
# httpx, botocore and the like log whole URLs at INFO; a webhook URL is a secret.
_CHATTY = ("httpx", "httpcore", "botocore", "aiobotocore", "urllib3", "nats", "alembic", "sqlalchemy", "aiosqlite")


def redact(text: str) -> str:
    """Hide credentials in URLs and the secret part of Slack webhook addresses."""
    return _URL_SECRETS.sub(lambda m: (m["scheme"] or m["hook"]) + "***", text)


def _redact_values(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def _add_trace(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (trace := tracing.trace_id()) is not None:
        event.setdefault("trace_id", trace)
    return event


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send everything, libraries included, through one JSON renderer."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact_values,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
