"""F02 Two workers hold the same drop at the same time.

Promised: one of them wins, the other sees it and settles its message.
"""

from __future__ import annotations

from .conftest import MakeRig
from .harness import parquet, rows
from .proxies import Call, Fault, HttpProxy


def test_one_part_is_stored(make_rig: MakeRig, http: HttpProxy) -> None:
    http.script = lambda call: Fault(delay=1.0) if call.method == "GET" and "/in/" in call.path else None
    rig = make_rig(environment={"AWS_ENDPOINT_URL_S3": http.url}).start()
    sent = rig.put("a.parquet", parquet(rows(1)))
    rig.send(*[sent] * 6)
    rig.settled()
    assert _reads(http.calls) >= 2, "nobody raced"
    assert rig.outcomes() == {"counted": 1}
    rig.verify()


def _reads(calls: list[Call]) -> int:
    return sum(call.method == "GET" and "/in/" in call.path for call in calls)
