"""F20 Nothing in it: no bytes, a header only, no rows, all null, all infinite.

Promised: `insufficient`, or what the nulls deserve; no error.
"""

from __future__ import annotations

import pyarrow as pa

from .harness import Rig, parquet, rows


def test_empty_drops_are_judged(rig: Rig) -> None:
    nothing = rows(1).slice(0, 0)
    rig.drop("bytes.parquet", b"")
    rig.drop("header.csv", b"x,plan\n")
    rig.drop("rows.parquet", parquet(nothing))
    rig.drop("null.parquet", parquet(pa.table({"x": pa.nulls(300, pa.float64()), "plan": pa.nulls(300, pa.string())})))
    rig.drop("infinite.parquet", parquet(pa.table({"x": pa.array([float("inf")] * 300), "plan": pa.array(["pro"] * 300)})))
    rig.settled()
    words = {name: word for name, (word, _) in rig.verdicts().items()}
    assert [words[name] for name in ("bytes.parquet", "header.csv", "rows.parquet")] == ["insufficient"] * 3
    assert words["null.parquet"] in ("drift", "untrusted")
    assert words["infinite.parquet"] in ("drift", "untrusted")
    assert rig.letters() == []
    rig.verify()
