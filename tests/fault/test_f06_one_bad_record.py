"""F06 One record of ten is bad.

Promised: nine drops count, and the bad record alone is dead-lettered with its reason.
"""

from __future__ import annotations

import json

from .harness import Rig, parquet, rows


def test_neighbours_of_a_bad_record_count(rig: Rig) -> None:
    sent = [rig.put(f"{number}.parquet", parquet(rows(number))) for number in range(9)]
    records = [json.loads(one.body(rig.bucket))["Records"][0] for one in sent]
    records.insert(4, {"eventVersion": "2.1", "eventTime": "yesterday"})
    rig.send(json.dumps({"Records": records}))
    rig.settled()
    assert len(rig.verdicts()) == 9
    (letter,) = rig.letters()
    assert letter["reason"] == "unknown_shape"
    assert json.loads(letter["body"])["eventTime"] == "yesterday"
    rig.verify()


def test_drop_that_cannot_be_read_is_dead_lettered_without_its_neighbours(rig: Rig) -> None:
    good, bad = rig.put("good.parquet", parquet(rows(1))), rig.put("bad.parquet", b"PAR1 no more")
    both = [json.loads(one.body(rig.bucket))["Records"][0] for one in (good, bad)]
    rig.send(json.dumps({"Records": both}))
    rig.settled()
    (letter,) = rig.letters()
    assert letter["reason"] == "unreadable"
    assert [record["s3"]["object"]["key"] for record in json.loads(letter["body"])["Records"]] == ["in/bad.parquet"]
    rig.verify()
