"""F04 S3 greets the queue, and notifications come through SNS, EventBridge or bare.

Promised: the greeting is deleted, the others are read.
"""

from __future__ import annotations

import json

from .harness import ROWS, Rig, parquet, rows


def test_every_shape_is_read(rig: Rig) -> None:
    bare, wrapped, bridged = (rig.put(f"{name}.parquet", parquet(rows(seed))) for seed, name in enumerate(("bare", "sns", "bridge")))
    bridge = {
        "source": "aws.s3", "detail-type": "Object Created", "time": bridged.at.isoformat(),
        "detail": {"bucket": {"name": rig.bucket}, "object": {"key": bridged.key, "etag": bridged.etag, "size": bridged.size, "sequencer": "01"}},
    }  # fmt: skip
    rig.send(
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": rig.bucket}),
        bare,
        json.dumps({"Type": "Notification", "Message": wrapped.body(rig.bucket)}),
        json.dumps(bridge),
    )
    rig.settled()
    assert rig.verdicts() == {f"{name}.parquet": ("ok", ROWS) for name in ("bare", "sns", "bridge")}
    assert rig.letters() == []
    rig.verify()
