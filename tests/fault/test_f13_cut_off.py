"""F13 The body is cut off, or drips.

Promised: read again; nothing is counted of what did not come whole.
"""

from __future__ import annotations

import pytest

from .conftest import MakeRig
from .harness import ROWS, parquet, rows
from .proxies import Call, Fault, HttpProxy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fault", [Fault(body_bytes=100), Fault(body_bytes=0), Fault(drip=1.0)], ids=["cut off", "empty", "dripping"])
def test_nothing_counts_that_did_not_come_whole(make_rig: MakeRig, http: HttpProxy, fault: Fault) -> None:
    hits = 0

    def script(call: Call) -> Fault | None:
        nonlocal hits
        if call.method == "GET" and "/in/" in call.path:
            hits += 1
            return fault if hits <= 2 else None
        return None

    http.script = script
    rig = make_rig(environment={"AWS_ENDPOINT_URL_S3": http.url, "DRIFTSONDE_READ_PATIENCE": "3s"}).start()
    rig.drop("a.parquet", parquet(rows(1)))
    rig.until(lambda: hits >= 2, "two tries")
    assert rig.outcomes() == {}
    rig.settled(90)
    assert rig.verdicts() == {"a.parquet": ("ok", ROWS)}
    assert rig.letters() == []
    rig.verify()
