"""A retrainer whose recipe deploys, with a former model on its endpoint or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from driftsonde.core.config import Deploy
from driftsonde.core.ports import EndpointState

ENDPOINT = "churn-live"
FORMER = {
    "EndpointConfigName": "by-hand",
    "ProductionVariants": [
        {"VariantName": "Main", "ModelName": "old-model", "InitialInstanceCount": 2, "InstanceType": "ml.c5.large", "InitialVariantWeight": 1.0}
    ],
    "KmsKeyId": "key-1",
}  # fmt: skip


def parse_deploy(**section: Any) -> Any:
    """Return a `deploy` section."""
    return TypeAdapter(Deploy).validate_python({"endpoint": ENDPOINT, **section})


@pytest.fixture
def deploying(database: Any, retrainer: Any, facts: Any) -> Callable[..., Any]:
    """Bring a plan to the state `deploying` with a `deploy` section; by default a former model serves."""

    async def start(*, fresh: bool = False, batch: bool = True, **section: Any) -> Any:
        recipe = retrainer.config.recipes["xgb"]
        changes = {"deploy": parse_deploy(**section), "batch": recipe.batch.model_copy(update={"enabled": batch})}
        config = retrainer.config.model_copy(update={"recipes": {"xgb": recipe.model_copy(update=changes)}})
        made = type(retrainer)(database, config)
        if not fresh:
            made.jobs.created["by-hand"] = ("endpoint-config", FORMER)
            made.endpoints.states[ENDPOINT] = EndpointState("InService", "by-hand", weights={"Main": 1.0})
        await made.hear(facts.drift())
        await made.rounds()
        for step in ("prepare", "train", "evaluate"):
            await made.finish(step)
        return made

    return start
