"""F12 The object is replaced between its event and its reading, or while it is read.

Promised: nothing of two versions is mixed; the new version comes with its own event.
"""

from __future__ import annotations

import threading

from .conftest import MakeRig
from .harness import Rig, parquet, rows
from .proxies import Call, Fault, HttpProxy


def test_old_event_reads_nothing_of_the_new_version(rig: Rig) -> None:
    first = rig.put("a.parquet", parquet(rows(1)))
    second = rig.put("a.parquet", parquet(rows(2, count=500)))
    rig.send(first)
    rig.settled()
    assert rig.outcomes() == {"superseded": 1}
    rig.send(second)
    rig.settled()
    assert rig.verdicts() == {"a.parquet": ("ok", 500)}
    rig.verify([second])


def test_versions_are_not_mixed_within_a_reading(make_rig: MakeRig, http: HttpProxy) -> None:
    rig = make_rig(environment={"AWS_ENDPOINT_URL_S3": http.url}).start()
    big, swapped = parquet(rows(1, count=300_000), compression="none"), threading.Event()
    first = rig.put("a.parquet", big)
    new = parquet(rows(2, count=290_000), compression="none")

    def swap() -> None:
        if not swapped.is_set():
            swapped.set()
            second.append(rig.put("a.parquet", new))

    second: list[object] = []

    def script(call: Call) -> Fault | None:
        return Fault(then=swap) if call.method == "GET" and call.path.endswith("/in/a.parquet") else None

    http.script = script
    rig.send(first)
    rig.until(lambda: rig.outcomes() == {"superseded": 1}, "the swap to be noticed")
    rig.send(*second)  # type: ignore[arg-type]  # what `put` returned
    rig.settled()
    assert rig.verdicts()["a.parquet"][1] == 290_000
    rig.verify([rig.sent[-1]])
