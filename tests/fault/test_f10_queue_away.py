"""F10 SQS is away, throttles, or does what it is asked and says that it did not.

Promised: not ready but alive; nothing is lost, and what comes again is harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from .conftest import MakeRig
from .harness import parquet, rows
from .proxies import Call, Fault, HttpProxy, TcpProxy


def test_outage_is_survived(make_rig: MakeRig, emulator: str, tcp: Callable[[int | str], TcpProxy]) -> None:
    wire = tcp(urlsplit(emulator).port or 0)
    rig = make_rig(environment={"AWS_ENDPOINT_URL_SQS": f"http://127.0.0.1:{wire.port}"}).start()
    rig.drop("before.parquet", parquet(rows(1)))
    rig.settled()
    wire.cut()
    rig.until(lambda: rig.get("detector0", "/readyz")[0] == 503, "not ready")
    rig.drop("during.parquet", parquet(rows(2)))
    assert rig.get("detector0", "/livez")[0] == 200
    wire.restore()
    rig.until(lambda: rig.get("detector0", "/readyz")[0] == 200, "ready again", 75)
    rig.settled()
    assert len(rig.verdicts()) == 2
    rig.verify()


def test_lost_answers_and_throttling_are_harmless(make_rig: MakeRig, http: HttpProxy) -> None:
    def script(call: Call) -> Fault | None:
        if call.action in ("DeleteMessageBatch", "ReceiveMessage") and call.number % 3 == 0:
            return Fault(status=500, after=call.action == "DeleteMessageBatch")
        return Fault(status=400, code="ThrottlingException") if call.number % 7 == 0 and call.action else None

    http.script = script
    settings = {"AWS_ENDPOINT_URL_SQS": http.url, "DRIFTSONDE_GRACE": "2s", "DRIFTSONDE_LEASE": "5s"}
    rig = make_rig(environment=settings).start()
    for number in range(12):
        rig.drop(f"{number}.parquet", parquet(rows(number)))
    rig.until(lambda: len(rig.verdicts()) == 12, "every verdict", 90)
    http.script = lambda _call: None
    rig.settled()
    rig.verify()
