"""The whole file: `driftsonde.yaml` is read and checked here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from driftsonde.core.config.base import Section, explain, without_addresses
from driftsonde.core.config.channels import ChannelConfig
from driftsonde.core.config.deploys import NoDeploy
from driftsonde.core.config.monitors import Monitor
from driftsonde.core.config.recipes import Recipe
from driftsonde.core.errors import ConfigError
from driftsonde.core.given import read_given
from driftsonde.core.names import Name, split_s3
from driftsonde.core.strict_yaml import load_yaml

MAX_CONFIG_BYTES = 1_000_000


class Budget(Section):
    """Caps over all monitors."""

    training_jobs_per_day: int = Field(10, ge=0)
    prices: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="Price of an hour of each instance type, e.g. {ml.m5.large: 0.115}: your region's, as AWS bills you."
    )
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    spend_per_month: float | None = Field(
        None, ge=0, description="Nothing is begun whose expected cost would bring the last 30 days above this; needs prices."
    )


class Config(Section):
    """The whole file."""

    monitors: tuple[Monitor, ...] = Field(min_length=1)
    recipes: dict[Name, Recipe] = Field({})
    channels: dict[Name, ChannelConfig] = Field({})
    budget: Budget = Budget()
    bucket_owners: dict[str, Annotated[str, Field(pattern=r"^[0-9]{12}$")]] = Field(
        {},
        description='Account that must own a bucket, in quotes: S3 refuses every call to one that is another\'s, e.g. {acme-ml: "111122223333"}',
    )

    @model_validator(mode="after")
    def _references_exist(self) -> Config:
        names = [monitor.name for monitor in self.monitors]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"monitors: the name {twice[0]!r} is used twice")
        for monitor in self.monitors:
            if monitor.retrain and monitor.retrain.recipe not in self.recipes:
                raise ValueError(f"monitors.{monitor.name}.retrain.recipe: {monitor.retrain.recipe!r} is not under recipes")
            for channel in monitor.notify:
                if channel not in self.channels:
                    raise ValueError(f"monitors.{monitor.name}.notify: {channel!r} is not under channels")
        self._endpoints_have_one_monitor()
        if foreign := sorted(set(self.bucket_owners) - self._buckets()):
            raise ValueError(f"bucket_owners: no monitor or recipe names the bucket {foreign[0]!r}")
        return self

    def _endpoints_have_one_monitor(self) -> None:
        users: dict[str, str] = {}
        for monitor in self.monitors:
            deploy = self.recipes[monitor.retrain.recipe].deploy if monitor.retrain else NoDeploy()
            if not isinstance(deploy, NoDeploy) and users.setdefault(deploy.endpoint, monitor.name) != monitor.name:
                raise ValueError(
                    f"recipes.{monitor.retrain.recipe if monitor.retrain else ''}.deploy.endpoint: {users[deploy.endpoint]!r} and "
                    f"{monitor.name!r} would replace each other's models on {deploy.endpoint!r}"
                )

    def _buckets(self) -> set[str]:
        uris = [uri for monitor in self.monitors for uri in (monitor.drops, monitor.baseline.uri) if uri]
        uris += [recipe.output for recipe in self.recipes.values()]
        champions = [recipe.champion for recipe in self.recipes.values() if recipe.champion]
        uris += [uri for champion in champions for uri in (champion.model, champion.encoding)]
        deploys = [recipe.deploy for recipe in self.recipes.values()]
        uris += [uri for deploy in deploys for uri in (getattr(deploy, "labels", None), getattr(deploy, "capture", None)) if uri]
        return {split_s3(uri)[0] for uri in uris}

    def monitor(self, name: str) -> Monitor | None:
        """Return the monitor of that name, if there is one."""
        return next((monitor for monitor in self.monitors if monitor.name == name), None)


def load_config(path: Path) -> Config:
    """Read and check `driftsonde.yaml`; `env:NAME` reads a variable instead of a file.

    Raises:
        ConfigError: naming each wrong key, its value and what would be right.
    """
    try:
        data = read_given(path, MAX_CONFIG_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}; `driftsonde init` writes a commented example") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start:,}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES:,} bytes")
    try:
        raw = load_yaml(text, most=MAX_CONFIG_BYTES)
    except ValueError as exc:
        raise ConfigError(f"{path} is not YAML: {without_addresses(str(exc))}") from exc
    return parse_config(raw, source=str(path))


def parse_config(raw: Any, *, source: str) -> Config:
    """Check a parsed file; `source` names it in messages.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as exc:
        raise ConfigError(f"{source}: {explain(exc)}") from exc
