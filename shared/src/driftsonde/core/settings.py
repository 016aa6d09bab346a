"""Settings of a process: one `DRIFTSONDE_*` variable each; what is watched stands in `driftsonde.yaml` (core.config)."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from driftsonde.core.config import Duration, explain
from driftsonde.core.errors import ConfigError

BAD_CONFIG = 78
"""Exit code for a configuration mistake (EX_CONFIG of sysexits.h)."""


class ServiceSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(
        env_prefix="DRIFTSONDE_", env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    config: Path = Field(Path("driftsonde.yaml"), description="The configuration file; `env:NAME` reads the variable NAME instead.")
    database_url: SecretStr = Field(
        description="SQLAlchemy URL of this service's state: sqlite:///path or postgresql://user:password@host/db?options=-csearch_path=..."
    )
    bus_url: SecretStr = Field(
        SecretStr("nats://127.0.0.1:4222"),
        description="nats://[user:password@]host:port, or sns://<topic ARN>?queue=<SQS URL>&dead_letters=<SQS URL>, both FIFO; {service} in a URL is this service's name.",
    )
    replicas: int = Field(1, ge=1, description="How many replicas run; more than one needs PostgreSQL.")
    deployment: str = Field("default", min_length=1, max_length=64, description="Tells deployments in one AWS account apart.")
    host: str = Field("127.0.0.1", description="Address of /metrics, /livez and /readyz.")
    port: int = Field(ge=0, le=65535)
    grace: Duration = Field(timedelta(seconds=25), description="Time to finish after SIGTERM, e.g. 25s.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    republish_every: Duration = Field(timedelta(hours=1), description="Open episodes and plans are published again this often.")

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment.

        Raises:
            ConfigError: naming each variable that is missing or wrong.
        """
        try:
            return cls(**overrides)
        except ValidationError as exc:
            names = explain(exc)
            raise ConfigError(f"environment: {names} (each key is a variable DRIFTSONDE_<KEY>)") from exc

    def printable(self) -> str:
        """Return the settings as JSON with every secret masked; for `--print-config`."""
        shown = {}
        for key, given in self:
            value = _masked(key, given) if isinstance(given, SecretStr) else given
            shown[key] = (
                value.model_dump() if isinstance(value, BaseModel) else value if isinstance(value, int | float | None) else str(value)
            )
        return json.dumps(shown, indent=2)


def _masked(key: str, secret: SecretStr) -> str:
    """Return a URL without what is secret in it; of anything else only whether it is set."""
    value = secret.get_secret_value()
    return mask_url(value) if key.endswith("_url") else "***" if value else ""


def mask_url(url: str) -> str:
    """Return a URL with its password, token and query hidden; a text that is no URL is hidden whole."""
    head, at, tail = url.rpartition("@")
    if at:  # by hand: a password with an unescaped slash ends the network part for urlsplit, and would be shown
        scheme, is_url, credentials = head.partition("://")
        if not is_url:
            return "***"
        user, colon, _ = credentials.partition(":")
        url = f"{scheme}://{user if colon else ''}:***@{tail}"
    try:
        parts = urlsplit(url)
        _ = parts.port  # one that is no number may be a password whose host was forgotten
    except ValueError:
        return "***"
    if not parts.scheme:
        return "***" if url else ""
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "***" if parts.query else "", ""))
