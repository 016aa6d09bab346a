"""F24 `kill -9` before and after each durable step of each service.

Promised: the state equals that of an uninterrupted run.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .conftest import MakeRig
from .harness import Rig, parquet, rows
from .reaction import Notifying, Processes, Retraining, Web, drift, resolved

ROUNDS = int(os.environ.get("DRIFTSONDE_FAULT_ROUNDS", "0"))
"""Deaths before and after each step, each at another time that a run comes to it; `make fault` asks for 2; 0: one, at a few steps."""
CALM = "calm"
"""The monitor whose run nobody interrupts."""
DROPS = {"0": parquet(rows(1)), "1": parquet(rows(2, shift=2.0)), "2": b"PAR1 no more"}
BOTH = ("before", "after")


class Step(NamedTuple):
    """A durable step, and how often a run comes to it; `quick`: the moment that the short campaign dies at."""

    name: str
    times: int
    moments: tuple[str, ...] = BOTH
    quick: str = ""

    def numbers(self) -> list[int]:
        """Return the times at which to die: the first, the last, and some between."""
        return sorted({1 + place * (self.times - 1) // max(1, ROUNDS - 1) for place in range(ROUNDS)})


class Death(NamedTuple):
    """Where one run ends."""

    step: str
    moment: str
    number: int


DETECTOR = (
    Step("receive", 3, ("after",)),
    Step("read", 3, ("after",)),
    Step("renew", 3),
    Step("commit", 3, quick="after"),
    Step("dead-letter", 1),
    Step("delete", 3),
    Step("judge", 3, quick="before"),
    Step("publish", 3, quick="after"),
    Step("mark", 3),
    Step("hear", 3),
    Step("ack", 3),
)  # fmt: skip
RETRAINER = (
    Step("take", 1),
    Step("ack", 1),
    Step("decide", 1),
    Step("write", 1, ("after",)),
    Step("create", 4, quick="after"),
    Step("note", 6),
    Step("describe", 3, ("after",)),
    Step("register", 1, ("after",)),
    Step("promote", 1, quick="before"),
    Step("publish", 4),
    Step("mark", 4),
)  # fmt: skip
NOTIFIER = (
    Step("queue", 2),
    Step("ack", 2),
    Step("claim", 2),
    Step("post", 2, quick="after"),
    Step("finish", 2, quick="before"),
    Step("publish", 2),
    Step("mark", 2),
)  # fmt: skip


def deaths(steps: tuple[Step, ...]) -> dict[str, Death]:
    """Return where to die, by the name of the monitor whose run it ends."""
    if ROUNDS:
        chosen = [Death(step.name, moment, number) for step in steps for moment in step.moments for number in step.numbers()]
    else:
        chosen = [Death(step.name, step.quick, 1) for step in steps if step.quick]
    return {f"m{place:03d}": death for place, death in enumerate(chosen)}


def launch_deadly(rig: Rig | Processes, service: str, death: Death) -> None:
    """Put a service that will die there in the place of the one that runs."""
    running = rig.processes[f"{service}0"]
    running.terminate()
    assert running.wait(25) == 0, rig.log()[-2000:]
    rig.launch(f"{service}0", ("-m", "tests.fault.deadly", service, death.step, death.moment, str(death.number)))


def until_done(
    rig: Rig | Processes, done: Callable[[], bool], death: Death | None = None, meanwhile: Callable[[], None] = lambda: None
) -> bool:
    """Wait for an end, and start again what dies on the way; returns whether it died.

    Args:
        death: the one that must come.
        meanwhile: called when it is dead.
    """
    rig.until(lambda: rig.dead() or (done() and not death), f"an end or {death}")
    if not rig.dead():
        return False
    meanwhile()
    rig.start()
    rig.until(done, "an end", 60)
    return True


def test_detector_goes_on_after_each_step(make_rig: MakeRig) -> None:
    chosen = deaths(DETECTOR)
    rig = make_rig(replicas=1, environment={"DRIFTSONDE_GRACE": "2s", "DRIFTSONDE_LEASE": "3s"})
    monitors = [
        {"name": name, "drops": f"s3://{rig.bucket}/in/{name}/", "baseline": f"s3://{rig.bucket}/base/"} for name in (CALM, *chosen)
    ]
    rig.config.write_text(yaml.safe_dump({"monitors": monitors}))
    rig.start()
    rig.bus.shorten_ack_wait("detector")
    rig.until(lambda: rig.query("select count(*) from baseline where state = 'adopted'") == [(len(monitors),)], "every baseline")
    rig.until(rig.at_rest, "rest")
    _drop_all(rig, CALM, None)
    calm = _judged(rig, CALM)
    assert [word for word, _ in calm["windows"].values()] == ["ok", "drift", "untrusted"], calm
    for name, death in chosen.items():
        launch_deadly(rig, "detector", death)
        _drop_all(rig, name, death)
        assert _judged(rig, name) == calm, f"after {death}"
    rig.verify()


def _drop_all(rig: Rig, monitor: str, death: Death | None) -> None:
    """Drop one after the other what is quiet, what has drifted and what cannot be read."""
    for name, body in DROPS.items():
        rig.drop(f"{monitor}/{name}", body)
        if until_done(rig, rig.at_rest, death if name == max(DROPS) else None):
            death = None


def _judged(rig: Rig, monitor: str) -> dict[str, Any]:
    """Return everything that is stored and was said of a monitor; its dead letter may be there twice after a death."""
    prefix = f"s3://{rig.bucket}/in/{monitor}/"
    mine = f"where monitor = '{monitor}'"
    letters = [letter["reason"] for letter in rig.letters() if f"%2F{monitor}%2F" in letter["body"]]
    assert len(letters) in (1, 2)
    return {
        "windows": {
            name.removeprefix(prefix): (word, count)
            for name, word, count in rig.query(f'select id, verdict, rows from "window" {mine} order by id')
        },
        "parts": [(count, bytes(sketch)) for count, sketch in rig.query(f"select rows, sketch from part {mine} order by key")],
        "objects": rig.query(f"select outcome, rows from object {mine} order by key"),
        "episodes": [
            (*row, opened.removeprefix(prefix))
            for *row, opened in rig.query(f"select number, kind, is_open, opened from episode {mine} order by number")
        ],
        "said": Counter(json.loads(body)["type"] for (body,) in rig.query(f"select body from outbox {mine}")),
        "heard": Counter(rig.query(f"select type from timeline {mine}")),
        "letters": set(letters),
    }


def test_retrainer_goes_on_after_each_step(emulator: str, tmp_path: Path, database: str) -> None:
    chosen = deaths(RETRAINER)
    with Retraining(emulator, tmp_path, database, monitors=(CALM, *chosen)) as rig:
        rig.bus.shorten_ack_wait("retrainer")
        _retrain(rig, CALM, None)
        calm = _retrained(rig, CALM)
        assert calm["plan"] == [("done",)], calm
        for name, death in chosen.items():
            launch_deadly(rig, "retrainer", death)
            _retrain(rig, name, death)
            assert _retrained(rig, name) == calm, f"after {death}"
        rig.verify()


def _retrain(rig: Retraining, monitor: str, death: Death | None) -> None:
    rig.publish(drift(monitor))

    def done() -> bool:
        return rig.plans().get(f"{monitor}-1") == "done" and rig.all_published() and rig.heard()

    until_done(rig, done, death)


def _retrained(rig: Retraining, monitor: str) -> dict[str, Any]:
    mine = f"where plan = '{monitor}-1'"
    packages = rig.ask_sagemaker("ListModelPackages", ModelPackageGroupName=f"ds-{monitor}")["ModelPackageSummaryList"]
    return {
        "plan": rig.query(f"select state from plan where monitor = '{monitor}'"),
        "jobs": rig.query(f"select step, attempt, state from job {mine} order by step"),
        "made": sorted((job["kind"], job["status"]) for job in rig.jobs() if f"-{monitor}-" in job["name"]),
        "models": rig.query(f"select state from model {mine}"),
        "packages": len(packages),
        "budget": rig.query(f"select count(*) from budget {mine}"),
        "said": [(fact["type"], fact["sequence"]) for fact in rig.said(f"{monitor}-1")],
    }


def test_notifier_goes_on_after_each_step(emulator: str, tmp_path: Path, database: str) -> None:
    chosen = deaths(NOTIFIER)
    with (
        Web() as web,
        Notifying(emulator, tmp_path, database, web, channels={"hook": "webhook"}, monitors=(CALM, *chosen)) as rig,
    ):
        rig.bus.shorten_ack_wait("notifier")
        _tell(rig, CALM, None)
        calm = _told(rig, CALM)
        for name, death in chosen.items():
            launch_deadly(rig, "notifier", death)
            _tell(rig, name, death)
            assert _told(rig, name) == calm, f"after {death}"
        rig.verify("hook", crashes=len(chosen))


def _tell(rig: Notifying, monitor: str, death: Death | None) -> None:
    rig.publish(drift(monitor), resolved(monitor))

    def done() -> bool:
        delivered = f"select count(*) from delivery where monitor = '{monitor}' and state = 'delivered'"
        return rig.query(delivered) == [(2,)] and rig.all_published() and rig.heard()

    def a_minute_passes() -> None:
        rig.execute("update delivery set claimed_until = created_at where claimed_until is not null")

    until_done(rig, done, death, a_minute_passes)


def _told(rig: Notifying, monitor: str) -> dict[str, Any]:
    """Return everything that is stored and was sent of a monitor; one message may have been sent twice after a death."""
    mine = f"where monitor = '{monitor}'"
    sent = Counter(post.event["type"] for post in rig.web.at("/hook", accepted=True) if post.event["subject"] == monitor)
    assert sum(sent.values()) - len(sent) <= (monitor != CALM)
    return {
        "deliveries": rig.query(f"select channel, state from delivery {mine} order by id"),
        "incident": rig.query(f"select state, detector_sequence from incident where group_key = '{monitor}/1'"),
        "sent": set(sent),
        "said": sorted(json.loads(body)["data"]["outcome"] for (body,) in rig.query(f"select body from outbox {mine}")),
    }
