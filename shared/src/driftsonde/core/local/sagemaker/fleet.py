"""The servers behind one endpoint configuration, and how requests are spread over them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftsonde.core.local.sagemaker.capture import Call, Capture, Payload
from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.objects import Objects
from driftsonde.core.local.sagemaker.serving import ModelServer

OK = 200


class Rotation:
    """Takes turns so that after any number of picks each name had its share, to within one.

    AWS picks at random; exact shares make the same average without the noise.
    """

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def pick(self, weights: Mapping[str, float]) -> str:
        """Return the name whose turn it is; one of weight 0 never has one while another weighs more."""
        credit = {name: self._credit.get(name, 0.0) + weight for name, weight in weights.items() if weight > 0}
        chosen = max(credit, key=lambda name: credit[name])
        credit[chosen] -= sum(weights.values())
        self._credit = credit
        return chosen


@dataclass
class Variant:
    """One variant: its server and what became of the calls to it. One process serves it, whatever the number of instances."""

    name: str
    server: ModelServer
    weight: float
    invocations: int = 0
    errors: int = 0

    async def answer(self, call: Call, accept: str | None) -> tuple[int, Payload]:
        """Return the server's status and answer; anything but 200 counts as an error."""
        headers = {"Content-Type": call.request.content_type, **({"Accept": accept} if accept else {})}
        status, body, kind = await self.server.invoke(call.request.body, headers)
        self.invocations += 1
        self.errors += status != OK
        return status, Payload(body, kind)


class Fleet:
    """The running variants of one endpoint configuration. `start` makes one.

    Args:
        production: variants that answer, by name.
        shadow: variants that get copies.
    """

    def __init__(self, production: dict[str, Variant], shadow: dict[str, Variant], capture: Capture) -> None:
        self.production, self.shadow, self.capture = production, shadow, capture
        self._turns = Rotation()
        self._copies: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, specification: Json, endpoint: str, home: Path, objects: Objects, *, grace: float) -> Fleet:
        """Start every variant's server; if one cannot start, none is left running.

        Raises:
            JobFailed: saying which variant, and why.
        """
        capture = Capture(objects, specification.get("DataCaptureConfig"), endpoint)
        groups: tuple[dict[str, Variant], dict[str, Variant]] = ({}, {})
        fleet = cls(*groups, capture)
        try:
            for group, field in zip(groups, ("Production", "Shadow"), strict=True):
                for variant in specification[field]:
                    name = variant["VariantName"]
                    server = await ModelServer.start(variant["Container"], home / name, objects, grace=grace)
                    group[name] = Variant(name, server, variant["CurrentWeight"])
        except BaseException:
            await asyncio.shield(fleet.end())
            raise
        return fleet

    @property
    def variants(self) -> list[Variant]:
        """Every variant, shadows last."""
        return [*self.production.values(), *self.shadow.values()]

    @property
    def alive(self) -> bool:
        """Whether every server runs."""
        return all(variant.server.alive for variant in self.variants)

    @property
    def errors(self) -> int:
        """How many calls were answered with an error."""
        return sum(variant.errors for variant in self.variants)

    async def invoke(self, call: Call, *, accept: str | None, target: str | None) -> tuple[str, int, Payload]:
        """Return which variant answered, its status and its answer; shadows get their copies meanwhile."""
        name = target or self._turns.pick({name: variant.weight for name, variant in self.production.items()})
        captured = self.capture.samples()
        for shadow in self.shadow.values():
            if self._copied(shadow, self.production[name]):
                self._spawn(shadow, call, accept, captured)
        status, answer = await self.production[name].answer(call, accept)
        if captured and status == OK:
            self.capture.record(name, call, answer)
        return name, status, answer

    def _copied(self, shadow: Variant, production: Variant) -> bool:
        """Whether a shadow gets this call: its weight against the production variant's is its share."""
        credit = self._copies.get(shadow.name, 0.0) + shadow.weight / (production.weight or 1.0)
        self._copies[shadow.name] = min(credit - 1, 0.0) if credit >= 1 else credit
        return credit >= 1

    def _spawn(self, shadow: Variant, call: Call, accept: str | None, captured: bool) -> None:
        async def copy() -> None:
            status, answer = await shadow.answer(call, accept)
            if captured and status == OK:
                self.capture.record(shadow.name, call, answer)

        task = asyncio.create_task(copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """End every server, after the copies on their way, and write what was captured."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(variant.server.end() for variant in self.variants))
        await self.capture.flush()
