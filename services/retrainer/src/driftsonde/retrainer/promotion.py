"""What follows when a challenger has passed the gate: it is registered, and crowned or sent to its endpoint first."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from driftsonde.core.config import NoDeploy
from driftsonde.core.events import MAX_DROPS, ModelPromoted, Scores
from driftsonde.core.names import digest
from driftsonde.core.ports import TrainingJobs
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import requests
from driftsonde.retrainer.deploy.deployer import Deployer
from driftsonde.retrainer.manifest import Manifests
from driftsonde.retrainer.plans import Plans, PlanView, parse_id, succeeded
from driftsonde.retrainer.requests import Layout


class Promoter:
    """Takes plans out of the state `promoting`. Every call can be repeated.

    Args:
        image: returns the image of a plan's model.
    """

    def __init__(
        self, database: Database, plans: Plans, jobs: TrainingJobs, deployer: Deployer, manifests: Manifests,
        image: Callable[[PlanView], Awaitable[str]],
    ) -> None:  # fmt: skip
        self._database, self._plans, self._jobs, self._deployer, self._image = database, plans, jobs, deployer, image
        self._manifests = manifests

    async def promote(self, plan: PlanView) -> None:
        """Register the challenger; then crown it, or have it deployed: who serves is champion, so that comes first."""
        row, recipe = plan.row, plan.recipe
        layout = Layout.of(recipe, row.monitor, row.episode)
        name, image = self._plans.name(plan, "model", 1), await self._image(plan)
        _, trained = await self._database.look(succeeded, row.id, "train")
        prepared, _ = await self._database.look(succeeded, row.id, "prepare")
        attempt, scores = await self._database.look(succeeded, row.id, "evaluate")
        request = requests.create_model(recipe, name, image, trained["artifact"])
        request["Tags"] = self._plans.tags(plan, "model", 1, request)
        await self._jobs.create("model", request)
        lineage = {
            "monitor": row.monitor, "episode": str(row.episode), "drift-event": parse_id(row.event),
            "baseline": plan.drift.baseline.digest[:64], "manifest": layout.manifest(prepared),
        }  # fmt: skip
        group = recipe.package_group or f"ds-{row.monitor}"
        package = await self._jobs.register(
            group,
            requests.model_package(group, digest(name), image, trained["artifact"], lineage, f"{layout.metrics(attempt)}/metrics.json"),
        )
        drops = (await self._manifests.drops(plan, prepared))[-MAX_DROPS:]
        values = {
            "drops": json.dumps([drop.model_dump(exclude_none=True) for drop in drops]),
            "name": name, "data": trained["artifact"], "encoding": f"{layout.prepared(prepared, 'meta')}/encoding.json",
            "package": package, "metrics": json.dumps(scores),
        }  # fmt: skip
        if not isinstance(recipe.deploy, NoDeploy):
            await self._database.run(self._deployer.enrol, plan, values)
            return
        fields = {
            "reason": row.reason, "model": name, "package": package, "model_data": trained["artifact"],
            "scores": Scores.model_validate(scores), "drops": drops,
        }  # fmt: skip
        state = "transforming" if recipe.batch.enabled else "done"
        await self._database.run(lambda connection: self._plans.promote(connection, row, values, state, ModelPromoted, **fields))
