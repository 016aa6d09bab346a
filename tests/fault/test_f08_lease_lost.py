"""F08 The lease ends during work, because it cannot be renewed.

Promised: the work is given up before it is written; whoever gets the message next does it.
"""

from __future__ import annotations

from .conftest import MakeRig
from .harness import parquet, rows
from .proxies import Call, Fault, HttpProxy


def test_work_without_a_lease_is_not_written(make_rig: MakeRig, http: HttpProxy) -> None:
    slow = True

    def script(call: Call) -> Fault | None:
        if call.action == "ChangeMessageVisibility" and slow:
            return Fault(status=400, code="InvalidParameterValue")
        return Fault(delay=9.0) if slow and call.method == "GET" and "/in/" in call.path else None

    http.script = script
    settings = {"AWS_ENDPOINT_URL": http.url, "DRIFTSONDE_GRACE": "2s", "DRIFTSONDE_LEASE": "6s"}
    rig = make_rig(environment=settings, replicas=1).start()
    rig.drop("a.parquet", parquet(rows(1)))
    rig.until(lambda: "message released" in rig.log(), "the work to be given up")
    assert rig.outcomes() == {}
    slow = False
    rig.until(lambda: rig.outcomes() == {"counted": 1}, "the drop")
    rig.settled()
    rig.verify()


def test_lease_is_renewed_while_work_goes_on(make_rig: MakeRig, http: HttpProxy) -> None:
    http.script = lambda call: Fault(delay=15.0) if call.method == "GET" and "/in/" in call.path else None
    settings = {"AWS_ENDPOINT_URL": http.url, "DRIFTSONDE_GRACE": "2s", "DRIFTSONDE_LEASE": "6s"}
    rig = make_rig(environment=settings, replicas=1).start()
    rig.drop("a.parquet", parquet(rows(1)))
    rig.until(lambda: rig.outcomes() == {"counted": 1}, "the drop")
    rig.settled()
    assert sum(call.action == "ChangeMessageVisibility" for call in http.calls) >= 5
    assert sum(call.method == "GET" and "/in/" in call.path for call in http.calls) == 1
    rig.verify()
