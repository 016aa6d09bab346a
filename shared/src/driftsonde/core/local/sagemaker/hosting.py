"""Endpoints at work: fleets that come and go, deployments that bake, and the calls that are answered meanwhile.

What an endpoint should be is in the registry, written first; what runs is made to follow, also by the next control plane.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from driftsonde.core.local.sagemaker import rollout
from driftsonde.core.local.sagemaker.account import ENDPOINT
from driftsonde.core.local.sagemaker.capture import Call, Payload
from driftsonde.core.local.sagemaker.faults import Faults
from driftsonde.core.local.sagemaker.fleet import Fleet, Rotation
from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.notify import Notifier, endpoint_change
from driftsonde.core.local.sagemaker.objects import JobFailed, Objects
from driftsonde.core.local.sagemaker.process import reap
from driftsonde.core.local.sagemaker.registry import Registry, Resource
from driftsonde.core.local.sagemaker.settings import Settings
from driftsonde.core.local.sagemaker.views import describe_endpoint

log = logging.getLogger(__name__)

ALARM: Final = "Alarm"
"""The `op` of a scripted fault that strikes the next deployment with alarms, as a CloudWatch alarm would."""

_POLL = 0.02
_FLUSH_SECONDS = 0.5


class Alarmed(Exception):
    """An alarm went off while a deployment was watched; the text says which."""


@dataclass
class Traffic:
    """Where an endpoint's calls go: `share` of them to the new fleet, while there is one."""

    current: Fleet
    new: Fleet | None = None
    share: float = 0.0
    turns: Rotation = field(default_factory=Rotation)

    def pick(self, target: str | None) -> Fleet | None:
        """Return the fleet that answers next; with a target, one that has such a variant, or None."""
        if self.new is None:
            fleets = [self.current]
        else:
            first = self.turns.pick({"new": self.share, "current": 1 - self.share})
            fleets = [self.new, self.current] if first == "new" else [self.current, self.new]
        return next((fleet for fleet in fleets if target is None or target in fleet.production), None)


class Hosting:
    """The machines of this account that serve endpoints."""

    def __init__(self, settings: Settings, registry: Registry, notifier: Notifier, objects: Objects, faults: Faults) -> None:
        self._settings, self._registry, self._notifier, self._objects, self._faults = settings, registry, notifier, objects, faults
        self._traffic: dict[str, Traffic] = {}
        self._work: dict[str, asyncio.Task[None]] = {}

    def submit(self, name: str) -> None:
        """Have an endpoint's servers follow what the registry says, in the background."""
        endpoint = self._registry.get(ENDPOINT, name)
        if endpoint is None:
            return
        self._tell(endpoint)
        steps: dict[str, Callable[[Resource], Awaitable[None]]] = {
            "Creating": self._create, "Updating": self._update, "Deleting": self._delete,
        }  # fmt: skip
        self._work[name] = asyncio.create_task(self._guarded(name, steps[endpoint.status](endpoint)))

    async def recover(self) -> None:
        """End servers that an earlier control plane left, and begin to start them again; call before the first request."""
        for lock in (self._settings.root / "endpoints").glob("*/*/*/lock"):
            await reap(lock.parent)
        for endpoint in self._registry.all_of(ENDPOINT):
            if endpoint.status in ("InService", "Updating"):
                self._work[endpoint.name] = asyncio.create_task(self._guarded(endpoint.name, self._resume(endpoint)))
            elif endpoint.status in ("Creating", "Deleting"):
                self.submit(endpoint.name)

    async def run(self) -> None:
        """Write what was captured, every moment, until cancelled."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            for traffic in list(self._traffic.values()):
                for fleet in filter(None, (traffic.current, traffic.new)):
                    await fleet.capture.flush()

    async def close(self) -> None:
        """End every server; what was being done is taken up by the next control plane."""
        for task in self._work.values():
            task.cancel()
        await asyncio.gather(*self._work.values(), return_exceptions=True)
        fleets = [fleet for traffic in self._traffic.values() for fleet in (traffic.current, traffic.new) if fleet is not None]
        await asyncio.gather(*(fleet.end() for fleet in fleets))

    async def invoke(self, name: str, call: Call, *, accept: str | None, target: str | None) -> tuple[str, int, Payload] | None:
        """Return variant, status and answer; None when the endpoint serves nothing now, or has no such variant."""
        traffic = self._traffic.get(name)
        fleet = traffic.pick(target) if traffic else None
        return await fleet.invoke(call, accept=accept, target=target) if fleet else None

    def numbers(self) -> list[Json]:
        """Return what became of the calls to each variant that serves now."""
        return [
            {"endpoint": name, "fleet": role, "variant": variant.name, "shadow": variant.name in fleet.shadow,
             "weight": variant.weight, "invocations": variant.invocations, "errors": variant.errors}
            for name, traffic in self._traffic.items()
            for role, fleet in (("current", traffic.current), ("new", traffic.new)) if fleet is not None
            for variant in fleet.variants
        ]  # fmt: skip

    async def _guarded(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as exc:  # the only broad handler: an endpoint must not stay in a state that never ends
            log.exception("endpoint %s failed for a reason of ours", name)
            self._note(name, "Failed", FailureReason=f"InternalServerError: {exc!r}"[:1024], Pending=None)

    async def _start(self, name: str, specification: Json) -> Fleet:
        await asyncio.sleep(self._settings.min_state_seconds)
        home = self._home(name) / specification["EndpointConfigName"]
        return await Fleet.start(specification, name, home, self._objects, grace=self._settings.grace_seconds)

    def _home(self, name: str) -> Path:
        return self._settings.root / "endpoints" / name

    async def _create(self, endpoint: Resource) -> None:
        try:
            fleet = await self._start(endpoint.name, endpoint.body["Fleet"])
        except JobFailed as exc:
            self._note(endpoint.name, "Failed", FailureReason=str(exc)[:1024])
            return
        self._traffic[endpoint.name] = Traffic(fleet)
        self._note(endpoint.name, "InService")

    async def _resume(self, endpoint: Resource) -> None:
        """Serve again after a restart of the control plane, then go on with an update."""
        self._traffic[endpoint.name] = Traffic(await self._start(endpoint.name, endpoint.body["Fleet"]))
        if endpoint.status == "Updating":
            await self._update(endpoint)

    async def _update(self, endpoint: Resource) -> None:
        if "Pending" not in endpoint.body:
            await self._weigh(endpoint)
            return
        pending, traffic = endpoint.body["Pending"], self._traffic[endpoint.name]
        deployment = pending.get("DeploymentConfig")
        try:
            async with asyncio.timeout(rollout.timeout(deployment)):
                traffic.new = await self._start(endpoint.name, pending["Fleet"])
                await self._shift(traffic, traffic.new, pending["Fleet"], deployment)
        except (JobFailed, Alarmed, TimeoutError) as exc:
            await self._roll_back(endpoint.name, traffic, str(exc) or "The deployment took longer than MaximumExecutionTimeoutInSeconds")
            return
        # Before InService is told: the next deployment may want the same directory.
        old, traffic.current, traffic.new, traffic.share = traffic.current, traffic.new, None, 0.0
        await old.end()
        fleet = pending["Fleet"]
        self._note(
            endpoint.name, "InService", EndpointConfigName=fleet["EndpointConfigName"], Fleet=fleet, Pending=None, FailureReason=None,
            LastDeploymentConfig=deployment,
        )  # fmt: skip

    async def _shift(self, traffic: Traffic, new: Fleet, specification: Json, deployment: Json | None) -> None:
        """Move traffic step by step and watch each; the old fleet stands by until the last was watched."""
        names, loop = rollout.alarms(deployment), asyncio.get_running_loop()
        instances = specification["Production"][0]["DesiredInstanceCount"]
        for stage in rollout.stages(deployment, instances):
            traffic.share = stage.share
            until = loop.time() + stage.seconds * self._settings.wait_scale
            while True:
                self._check(new, names)
                if loop.time() >= until:
                    break
                await asyncio.sleep(min(_POLL, max(0.0, until - loop.time())))

    def _check(self, new: Fleet, names: list[str]) -> None:
        """Raise when an alarm is configured and the new fleet answered with errors, or a test has asked for an alarm."""
        if not names:
            return
        scripted = self._faults.take(ALARM)
        if scripted is not None or new.errors:
            why = scripted.message if scripted else f"{new.errors} of the new fleet's answers were errors"
            raise Alarmed(f"One or more configured alarm(s) in the deployment configuration were triggered: {', '.join(names)} ({why})")

    async def _roll_back(self, name: str, traffic: Traffic, reason: str) -> None:
        traffic.share = 0.0
        failed, traffic.new = traffic.new, None
        if failed is not None:
            await failed.end()
        self._note(name, "InService" if traffic.current.alive else "UpdateRollbackFailed", Pending=None, FailureReason=reason[:1024])

    async def _weigh(self, endpoint: Resource) -> None:
        """Give the variants the weights that were asked for."""
        await asyncio.sleep(self._settings.min_state_seconds)
        fleet, running = endpoint.body["Fleet"], self._traffic[endpoint.name].current.production
        for variant in fleet["Production"]:
            variant |= {"CurrentWeight": variant["DesiredWeight"], "CurrentInstanceCount": variant["DesiredInstanceCount"]}
            running[variant["VariantName"]].weight = variant["DesiredWeight"]
        self._note(endpoint.name, "InService", Fleet=fleet)

    async def _delete(self, endpoint: Resource) -> None:
        await asyncio.sleep(self._settings.min_state_seconds)
        traffic = self._traffic.pop(endpoint.name, None)
        if traffic is not None:
            await traffic.current.end()
        self._registry.delete(ENDPOINT, endpoint.name)

    def _note(self, name: str, status: str, **fields: object) -> None:
        self._tell(self._registry.update(ENDPOINT, name, fields, status=status))

    def _tell(self, endpoint: Resource) -> None:
        self._notifier.publish(endpoint_change(endpoint, describe_endpoint(endpoint), self._registry.tags(endpoint.arn)))
