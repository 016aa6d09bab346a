"""SageMaker's endpoints in memory: they take a configuration only when nothing is being done, and not before a test says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from driftsonde.core.errors import ConfigError, RetryableError
from driftsonde.core.ports import EndpointState
from driftsonde.core.testing.jobs import FakeTrainingJobs


@dataclass
class FakeEndpoints:
    """Implements `ports.Endpoints`.

    Args:
        jobs: where the endpoint configurations are created.
        refuse: parts of the names of configurations that SageMaker refuses.
        lose_answers: how many of the next calls of `point` succeed without telling.
    """

    jobs: FakeTrainingJobs
    refuse: set[str] = field(default_factory=set)
    lose_answers: int = 0
    states: dict[str, EndpointState] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, Any] | None]] = field(default_factory=list)
    weighed: list[dict[str, float]] = field(default_factory=list)

    async def state(self, name: str) -> EndpointState | None:
        """Describe."""
        return self.states.get(name)

    async def config(self, name: str) -> Mapping[str, Any]:
        """Return what was created, without its tags."""
        if name not in self.jobs.created:
            raise ConfigError(f"could not find {name}")
        return {key: value for key, value in self.jobs.created[name][1].items() if key != "Tags"}

    async def point(self, endpoint: str, config: str, guard: Mapping[str, Any] | None, tags: Sequence[Mapping[str, str]]) -> None:
        """Begin to take a configuration; `settle` ends it."""
        state = self.states.get(endpoint)
        if state is not None and config in (state.config, state.pending):
            return
        if any(part in config for part in self.refuse) or config not in self.jobs.created:
            raise ConfigError(f"SageMaker refuses {config}")
        if state is not None and state.busy:
            raise RetryableError("an update is in progress")
        self.asked.append((config, guard))
        status = "Creating" if state is None else "Updating"
        self.states[endpoint] = replace(state or EndpointState("", config), status=status, pending=config, reason="")
        if self.lose_answers:
            self.lose_answers -= 1
            raise RetryableError("the answer was lost")

    async def weigh(self, endpoint: str, weights: Mapping[str, float]) -> None:
        """Move weights at once."""
        self.weighed.append(dict(weights))
        self.states[endpoint] = replace(self.states[endpoint], weights=dict(weights))

    def settle(self, endpoint: str, *, rolled_back: str = "") -> None:
        """End what is being done: with the new configuration, or, for a reason, with the former one."""
        state = self.states[endpoint]
        config = state.config if rolled_back else state.pending or state.config
        variants = self.jobs.created[config][1]["ProductionVariants"]
        weights = {variant["VariantName"]: variant["InitialVariantWeight"] for variant in variants}
        status = "Failed" if rolled_back and state.status == "Creating" else "InService"
        self.states[endpoint] = EndpointState(status, config, None, rolled_back, weights)
