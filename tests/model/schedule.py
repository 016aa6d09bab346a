"""One run: steps of all actors in a random order, crashes, lost messages; then calm, and what must hold after it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from .actors import REPLICATED, SINGLE, Actor, republish
from .world import Protocol, Queue, World

_STORMS = (40, 120, 300)  # steps with crashes
_CALM = 400  # more than anything needs


def violations(seed: int, protocol: Protocol) -> list[str]:
    """Run one schedule; returns what does not hold in the end."""
    return broken_promises(run(seed, protocol))


def run(seed: int, protocol: Protocol) -> World:
    """Run one schedule."""
    rng = Random(seed)
    keys = rng.randint(1, 3)
    world = World(rng, protocol, Queue([(key, version) for key in range(keys) for version in range(1, rng.randint(1, 2) + 1)]))
    actors = [*REPLICATED, *REPLICATED, *SINGLE]
    running: list[Iterator[None] | None] = [None] * len(actors)
    risk = rng.choice((0.0, 0.02, 0.1, 0.3))
    loses = rng.random() < 0.2
    for _ in range(rng.choice(_STORMS)):
        index = int(rng.random() * len(actors))
        running[index] = _step(world, actors[index], running[index])
        chance = rng.random()
        if chance < risk:
            world.crashes += 1
            service = index if chance < risk / 2 else None  # one worker, or everything
            running = [None if service in (None, place) else generator for place, generator in enumerate(running)]
        elif loses and chance > 0.98:
            world.bus.lose(rng)
    _calm_down(world, actors)
    return world


def _step(world: World, actor: Actor, generator: Iterator[None] | None) -> Iterator[None] | None:
    """Go on with an actor to its next durable step; None once it is done."""
    if generator is None:
        generator = actor(world)
    for _ in generator:
        return generator
    return None


def _calm_down(world: World, actors: list[Actor]) -> None:
    """Let every actor finish again and again, without crashes: leases end, and what is open is published once more."""
    world.crashes += 1  # what was under way is given up
    world.intake.leased.clear()
    for _ in republish(world):
        pass
    for _ in range(_CALM):
        for actor in actors:
            for _ in actor(world):
                pass
        if _quiet(world):
            return
    raise AssertionError("the protocol does not come to rest")


def _quiet(world: World) -> bool:
    return (
        len(world.intake.deleted) == len(world.intake.messages)
        and not world.detector.dirty
        and not any(world.bus.pending.values())
        and all(world.detector.outbox.values())
        and all(world.retrainer.outbox.values())
        and all(plan.outcome for plan in world.retrainer.plans.values())
        and all(world.notifier.deliveries.values())
    )


def broken_promises(world: World) -> list[str]:
    """Compare what is there with what was promised."""
    broken = []
    newest: dict[int, int] = {}
    for key, version in world.intake.messages:
        newest[key] = max(version, newest.get(key, 0))
    counted = {drop: count for drop, count in world.detector.counts.items() if count}
    if counted != dict.fromkeys(newest.items(), 1):
        broken.append("every drop once")
    if world.detector.judged != {
        window: sum(version for key, version in newest.items() if key % 2 == window) for window in {key % 2 for key in newest}
    }:
        broken.append("verdicts of what is stored")
    if set(world.retrainer.plans) != set(world.detector.episodes) or any(world.detector.episodes.values()):
        broken.append("every episode a plan that ends")
    if any(count > 1 for count in _jobs(world).values()) or not _all_ran(world):
        broken.append("one job for each step and attempt")
    if not set(world.detector.episodes) <= set(world.notifier.posted):
        broken.append("every episode told")
    if sum(world.notifier.posted.values()) - len(world.notifier.posted) > world.crashes:
        broken.append("told twice only after a crash")
    return broken


def _jobs(world: World) -> dict[tuple[str, int, int], int]:
    jobs: dict[tuple[str, int, int], int] = {}
    for what in world.sagemaker.jobs.values():
        jobs[what] = jobs.get(what, 0) + 1
    return jobs


def _all_ran(world: World) -> bool:
    """A plan that says that it came to an end has had a job for each step that it went through."""
    jobs = _jobs(world)
    return all(
        any(jobs.get((name, step, attempt)) for attempt in (1, 2))
        for name, plan in world.retrainer.plans.items()
        for step in range(plan.step)
    ) and all(
        jobs.get((name, plan.step, attempt))
        for name, plan in world.retrainer.plans.items()
        if plan.outcome == "failed"
        for attempt in (1, 2)
    )
