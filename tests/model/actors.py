"""The services, as generators: one durable step between two `yield`s, and a crash may come at each.

A name says which code a step stands for; what is one transaction there is one step here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .world import InUseError, Plan, World

Actor = Callable[[World], Iterator[None]]

STEPS = 2
ATTEMPTS = 2


def ingest(world: World) -> Iterator[None]:
    """`detector.consumer`, `Ingest.drop`, `Ledger.commit`: read, store the part in place of the old one, delete the message."""
    index = world.intake.receive(world.rng)
    if index is None:
        return
    yield
    if world.protocol.delete_first:
        world.intake.delete(index)
        yield
    key, version = world.intake.messages[index]
    state = world.detector
    known = state.versions.get(key, 0)
    newer = version > known or (world.protocol.newest_unknown and version != known)
    if newer or world.protocol.count_again:
        if not world.protocol.count_again:
            del state.counts[key, known]
        state.counts[key, version] += 1
        state.versions[key] = version
        state.dirty.add(key % 2)
    yield
    world.intake.delete(index)


def judge(world: World) -> Iterator[None]:
    """`detector.evaluate`: verdicts, episodes and their events in one transaction."""
    state = world.detector
    if not state.dirty:
        return
    window = min(state.dirty)
    event = f"episode-{window}"
    opened = event not in state.episodes
    state.dirty.discard(window)
    state.judged[window] = sum(count * version for (key, version), count in state.counts.items() if key % 2 == window)
    state.episodes.setdefault(event, True)
    if opened and not world.protocol.no_outbox:
        state.outbox[event] = False
    yield
    if opened and world.protocol.no_outbox:
        world.bus.publish(event)


def relay(world: World) -> Iterator[None]:
    """`store.outbox.Relay`, of the detector and of the retrainer."""
    for outbox in (world.detector.outbox, world.retrainer.outbox):
        for event in [event for event, published in outbox.items() if not published]:
            if world.protocol.forgetful_relay:
                outbox[event] = True
                yield
            world.bus.publish(event)
            yield
            outbox[event] = True
            yield


def republish(world: World) -> Iterator[None]:
    """`Relay` with `current`: what is open, or was until a short while ago, is published again."""
    if not world.protocol.never_again:
        for event in world.detector.outbox:
            world.bus.publish(event)
            yield


def plan(world: World) -> Iterator[None]:
    """`retrainer.handlers`: an event becomes a plan, once."""

    def store(event: str) -> None:
        if event not in world.retrainer.inbox and event.startswith("episode"):
            world.retrainer.plans[event] = Plan()
        world.retrainer.inbox.add(event)

    return _consume(world, "retrainer", store)


def drive(world: World) -> Iterator[None]:
    """`retrainer.planner` and its steps: the job's name follows from plan, step and attempt; SageMaker keeps it unique."""
    open_plans = [(name, plan) for name, plan in world.retrainer.plans.items() if plan.outcome is None]
    if not open_plans:
        return
    name, plan = open_plans[int(world.rng.random() * len(open_plans))]
    if plan.job is None:
        here = (name, plan.step, plan.attempt)
        if world.protocol.claim_is_done and plan.claimed:
            plan.job = _job(here)
            return
        plan.claimed = True
        yield
        job = _job(here) if not world.protocol.random_name else f"{_job(here)}-{world.rng.random()}"
        try:
            world.sagemaker.create(job, here)
        except InUseError:
            assert world.sagemaker.jobs[job] == here, "a foreign job"
        yield
        if plan.job is None and here == (name, plan.step, plan.attempt):
            plan.job = job
        return
    seen, job = (plan.step, plan.attempt), plan.job
    failed = job not in world.sagemaker.jobs or world.sagemaker.failed(job)
    yield
    if seen != (plan.step, plan.attempt) or plan.job != job:
        return  # another replica was faster
    _advance(world, name, plan, failed=failed)


def _job(here: tuple[str, int, int]) -> str:
    return "-".join(map(str, here))


def _advance(world: World, name: str, plan: Plan, *, failed: bool) -> None:
    plan.job, plan.claimed = None, False
    if failed and plan.attempt < ATTEMPTS:
        plan.attempt += 1
        return
    plan.step, plan.attempt = (plan.step + 1, 1) if not failed else (plan.step, plan.attempt)
    if failed or plan.step == STEPS:
        plan.outcome = "failed" if failed else "promoted"
        world.retrainer.outbox[f"closed-{name}"] = False


def adopt(world: World) -> Iterator[None]:
    """`detector.timeline`: a plan that ended closes its episode."""

    def store(event: str) -> None:
        if event.startswith("closed-"):
            world.detector.episodes[event.removeprefix("closed-")] = False

    return _consume(world, "detector", store)


def notify(world: World) -> Iterator[None]:
    """`notifier.handlers`: an event becomes a delivery, once."""
    return _consume(world, "notifier", lambda event: world.notifier.deliveries.setdefault(event, False))


def _consume(world: World, consumer: str, store: Callable[[str], object]) -> Iterator[None]:
    """`bus.settle`: receive, store in one transaction, acknowledge."""
    event = world.bus.deliver(consumer, world.rng)
    if event is None:
        return
    yield
    if world.protocol.ack_first:
        world.bus.acknowledge(consumer, event)
        yield
    store(event)
    yield
    world.bus.acknowledge(consumer, event)


def send(world: World) -> Iterator[None]:
    """`notifier.deliveries`: post, then note it."""
    for event in [event for event, sent in world.notifier.deliveries.items() if not sent]:
        if world.protocol.sent_first:
            world.notifier.deliveries[event] = True
            yield
        if not world.notifier.deliveries[event] or world.protocol.sent_first:
            world.notifier.posted[event] += 1
        yield
        world.notifier.deliveries[event] = True
        yield


REPLICATED: tuple[Actor, ...] = (ingest, judge, plan, drive)
SINGLE: tuple[Actor, ...] = (relay, adopt, notify, send)
"""Under a lease: one of them runs at a time, in whichever replica."""
