"""The verifier itself: a known bug is planted for each promise, and it must name what is wrong; without the bug the same run holds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import MakeRig
from .harness import parquet, rows
from .reaction import TERMINAL, Notifying, Retraining, Web, drift

BUGS = {
    "detector": {
        "deleted_first": "^lost: ",
        "counted_again": "^counted twice: .*again",
        "letter_forgotten": "^neither counted nor dead-lettered: .*bad",
        "saved_then_published": "^episodes and what was said of them: .*(drift.detected|data.untrusted)",
        "id_made_when_published": "^announced under ids that nobody stored: .*drift.detected",
        "total_from_before": "^windows that are not the sum of their parts: .*again",
    },
    "retrainer": {
        "random_job_name": "^made twice: .*prepare",
        "noted_before_created": "^churn-1 is preparing, and the last that was said of it is plan.accepted",
        "event_taken_before_its_plan": "^episodes without a plan: .*churn-1",
    },
    "notifier": {
        "noted_before_sent": "^hook never heard of ",
        "sent_and_not_noted": "^hook heard twice: ",
    },
}  # fmt: skip
QUICK = {"counted_again", "saved_then_published", "random_job_name", "sent_and_not_noted"}
HARMLESS = {"detector": "dies_before_it_deletes", "retrainer": "dies_after_create", "notifier": "nothing"}

Run = Callable[[str, str], None]


@pytest.fixture
def run(make_rig: MakeRig, emulator: str, tmp_path: Path, database: str) -> Run:
    """Run a service with a bug through a little of everything, then without it until nothing moves, and verify."""

    def detector(wrapper: tuple[str, ...]) -> None:
        rig = make_rig(replicas=1, environment={"DRIFTSONDE_GRACE": "2s", "DRIFTSONDE_LEASE": "3s"})
        rig.start_bus()
        rig.launch(wrapper=wrapper)
        rig.start()
        rig.drop("quiet.parquet", parquet(rows(1)))
        rig.drop("drifted.parquet", parquet(rows(2, shift=2.0)))
        rig.drop("bad.parquet", b"PAR1 no more")
        rig.drop("again.parquet", parquet(rows(3)))
        rig.until(lambda: rig.dead() or rig.at_rest(), "an end")
        rig.start()
        rig.settled()
        *others, again = rig.sent
        rig.send(again)
        rig.settled()
        replaced = rig.drop("again.parquet", parquet(rows(4, count=500)))
        rig.settled()
        rig.verify([*others, replaced])

    def retrainer(wrapper: tuple[str, ...]) -> None:
        with contextlib.closing(Retraining(emulator, tmp_path, database)) as rig:
            rig.bus.start()
            rig.launch("retrainer0", wrapper)
            rig.start()
            rig.bus.shorten_ack_wait("retrainer")
            rig.publish(drift())

            def over() -> bool:
                return rig.heard() and set(rig.plans().values()) <= TERMINAL

            rig.until(lambda: rig.dead() or over(), "an end")
            rig.start()
            with contextlib.suppress(AssertionError):  # what does not end is for the verifier to say
                rig.until(lambda: over() and rig.all_published(), "the end", 10)
            rig.verify()

    def notifier(wrapper: tuple[str, ...]) -> None:
        with Web() as web, contextlib.closing(Notifying(emulator, tmp_path, database, web, channels={"hook": "webhook"})) as rig:
            rig.bus.start()
            rig.launch("notifier0", wrapper)
            rig.start()
            rig.publish(drift())
            rig.until(lambda: rig.dead() or rig.deliveries("hook") == {"delivered": 1}, "an end")
            rig.start()
            rig.ended("hook", delivered=1)
            rig.until(rig.all_published, "all events published")
            rig.verify("hook")

    services = {"detector": detector, "retrainer": retrainer, "notifier": notifier}
    return lambda service, bug: services[service](("-m", "tests.fault.planted", service, bug))


@pytest.mark.parametrize(
    ("service", "bug", "said"),
    [
        pytest.param(service, bug, said, id=bug, marks=() if bug in QUICK else pytest.mark.slow)
        for service, bugs in BUGS.items()
        for bug, said in bugs.items()
    ],
)
def test_planted_bug_is_found(run: Run, service: str, bug: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        run(service, bug)


@pytest.mark.parametrize(
    "service",
    [pytest.param("detector"), pytest.param("retrainer", marks=pytest.mark.slow), pytest.param("notifier", marks=pytest.mark.slow)],
)
def test_run_without_a_bug_holds(run: Run, service: str) -> None:
    run(service, HARMLESS[service])
