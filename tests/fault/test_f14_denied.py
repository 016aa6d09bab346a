"""F14 Access, or the key that the object is encrypted with, is denied.

Promised: tried again with long pauses, not ready meanwhile; never counted as empty, never dead-lettered for it.
"""

from __future__ import annotations

import pytest

from .conftest import MakeRig
from .harness import parquet, rows
from .proxies import Fault, HttpProxy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("code", ["AccessDenied", "KMS.DisabledException", "InvalidAccessKeyId"])
def test_denied_drop_waits(make_rig: MakeRig, http: HttpProxy, code: str) -> None:
    http.script = lambda call: Fault(status=403, code=code) if "/in/" in call.path else None
    rig = make_rig(environment={"AWS_ENDPOINT_URL_S3": http.url, "DRIFTSONDE_SLOTS": "1"}).start()
    rig.drop("a.parquet", parquet(rows(1)))
    rig.until(lambda: "could not be taken" in rig.get("detector0", "/readyz")[1] or "message released" in rig.log(), "the refusal")
    assert rig.outcomes() == {}
    assert rig.letters() == []
    http.script = lambda _call: None
    rig.settled(90)
    assert rig.outcomes() == {"counted": 1}
    rig.verify()
