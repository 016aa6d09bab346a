"""A crash after any durable step, then redelivery: the state of a run that nothing interrupted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from driftsonde.core.errors import PoisonError
from driftsonde.core.leases import settle
from driftsonde.core.testing.objects import MemoryObjects

from .conftest import MakeRig
from .support import GARBAGE, Rig, drop_body, message

DRIFT = drop_body(200, 1.0, 1)


class Killed(BaseException):
    """The process ends here: nothing in it handles that."""


class Saboteur:
    """Lets some durable steps happen, and ends the process right after one of them."""

    def __init__(self, rig: Rig, after: int) -> None:
        self.left = after
        run, dead_letter = rig.database.run, rig.queue.dead_letter
        rig.database.run = self._around(run)  # type: ignore[method-assign]  # the step happens, then the process ends
        rig.queue.dead_letter = self._around(dead_letter)  # type: ignore[method-assign]  # likewise
        rig.intake._dead_letter = rig.queue.dead_letter

    def _around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        async def sabotaged(*args: Any, **kwargs: Any) -> Any:
            result = await step(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                raise Killed
            return result

        return sabotaged


async def deliver(rig: Rig) -> bool:
    """Work through the queue as the service does; False when the process was killed on the way."""
    try:
        while leases := await rig.queue.receive(1):
            for lease in leases:
                await settle(lease, rig.intake.handle)
            await rig.judge.sweep()
        while await rig.relay.publish_once():
            pass
        await rig.bus.drain()
    except Killed:
        return False
    return True


def state(rig: Rig) -> dict[str, Any]:
    """Return everything that a crash must not change; a message that comes again has its drops begin another trace."""
    events = sorted(event.id for event in rig.bus.published)
    kept = ("object", "part", "window", "dirty", "episode", "progress")
    heard = sorted(row["event_id"] for row in rig.select("timeline"))
    rows = {name: [{key: value for key, value in row.items() if key != "trace"} for row in rig.select(name)] for name in kept}
    return {**rows, "events": sorted(set(events)), "timeline": heard}


async def scene(rig: Rig) -> Rig:
    """Send a detector four messages: two drops in one, a bad one, an overwrite, and one that is no notification."""
    await rig.adopt()
    drops = [rig.put("in/1", drop_body()), rig.put("in/2", DRIFT), rig.put("in/3", GARBAGE), rig.put("in/1", DRIFT)]
    for body in (message(drops[0], drops[1]), message(drops[2]), message(drops[3]), "no notification"):
        await rig.queue.send(body)
    return rig


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The state without any crash."""

    async def run() -> dict[str, Any]:
        rig = Rig(f"sqlite:///{tmp_path_factory.mktemp('calm')}/d.db", objects=MemoryObjects(versioned=True))
        assert await deliver(await scene(rig))
        rig.close()
        return state(rig)

    return asyncio.run(run())


@pytest.mark.parametrize("after", range(1, 14))
async def test_killed_after_any_durable_step_ends_the_same(make_rig: MakeRig, calm: dict[str, Any], after: int) -> None:
    rig = await scene(make_rig(versioned=True))
    saboteur = Saboteur(rig, after)
    killed = not await deliver(rig)
    assert killed == (saboteur.left <= 0)
    rig.queue.expire()
    assert await deliver(rig)
    assert state(rig) == calm
    assert {reason for _, reason in rig.queue.dead_letters} == {"unreadable", "not_json"}
    assert len(rig.queue.dead_letters) <= 3, "a crash doubles one dead letter at most"
    assert rig.queue.held == []


async def test_transaction_that_breaks_leaves_nothing(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", DRIFT))
    with contextlib.suppress(ZeroDivisionError), rig.database.write() as connection:
        assert rig.evaluate(connection, rig.monitor).opened == ("drift",)
        raise ZeroDivisionError
    assert rig.episodes() == []
    assert rig.facts("drift.detected") == []
    await rig.evaluated()
    assert len(rig.episodes()) == 1


async def test_refused_dead_letter_is_tried_with_the_next_delivery(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.queue.send(message(rig.put("in/1", GARBAGE)))
    (lease,) = await rig.queue.receive(1)
    with pytest.raises(PoisonError):
        await rig.intake.handle(lease)  # committed; the process ends before the letter is written
    rig.queue.expire()
    (lease,) = await rig.queue.receive(1)
    assert await settle(lease, rig.intake.handle) == "unreadable"
    assert [reason for _, reason in rig.queue.dead_letters] == ["unreadable"]
