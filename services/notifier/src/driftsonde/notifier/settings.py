"""Settings of the notifier's process; channels stand in `driftsonde.yaml`."""

from __future__ import annotations

from pydantic import Field, SecretStr

from driftsonde.core.settings import ServiceSettings


class NotifierSettings(ServiceSettings):
    """Every field is one `DRIFTSONDE_*` variable."""

    port: int = Field(8082, ge=0, le=65535, description="Port of /metrics, /livez, /readyz and /api/silences; 0 takes a free one.")
    api_token: SecretStr = Field(
        SecretStr(""), description="What requests to /api/silences must bear; empty: who is at this machine may change silences."
    )
