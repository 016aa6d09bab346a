"""F05 Removals, restores, replication events, and a major version that nobody knows.

Promised: they are ignored, and the unknown version is dead-lettered.
"""

from __future__ import annotations

from .harness import ROWS, Rig, parquet, rows


def test_only_what_came_to_be_counts(rig: Rig) -> None:
    sent = rig.drop("a.parquet", parquet(rows(1)))
    rig.settled()
    for name in (
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRestore:Completed",
        "Replication:OperationMissedThreshold",
    ):
        rig.send(sent.body(rig.bucket, eventName=name))
    rig.send(sent.body(rig.bucket, eventVersion="3.0"))
    rig.settled()
    assert rig.verdicts() == {"a.parquet": ("ok", ROWS)}
    assert [letter["reason"] for letter in rig.letters()] == ["unknown_version"]
    rig.verify()


def test_removal_retracts_where_it_is_asked_for(make_rig: object) -> None:
    rig = make_rig(monitor={"on_remove": "retract"}).start()  # type: ignore[operator]  # a fixture
    sent = rig.drop("a.parquet", parquet(rows(1)))
    rig.drop("b.parquet", parquet(rows(2)))
    rig.settled()
    rig.delete("a.parquet")
    later = {
        "eventName": "ObjectRemoved:Delete",
        "s3": {"bucket": {"name": rig.bucket}, "object": {"key": sent.key, "sequencer": "0" * 15 + "F"}},
    }
    rig.send(sent.body(rig.bucket, **later))
    rig.until(lambda: rig.outcomes() == {"counted": 1, "retracted": 1}, "the retraction")
    rig.settled()
    rig.verify()
