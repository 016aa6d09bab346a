"""F21 Columns are gone, new, renamed or of another type.

Promised: the verdict says which; the other columns are still judged.
"""

from __future__ import annotations

import json

import pyarrow as pa

from .harness import Rig, parquet, rows


def test_changed_columns_are_named_and_others_judged(rig: Rig) -> None:
    table = rows(1)
    changes = {
        "gone": table.drop_columns(["plan"]),
        "new": table.append_column("extra", pa.array([1] * table.num_rows)),
        "renamed": table.rename_columns(["X", "plan"]),
        "retyped": pa.table({"x": ["text"] * table.num_rows, "plan": table["plan"]}),
    }
    for name, changed in changes.items():
        rig.drop(f"{name}.parquet", parquet(changed))
    rig.settled()
    words = {name: word for name, (word, _) in rig.verdicts().items()}
    assert words == {"gone.parquet": "untrusted", "new.parquet": "ok", "renamed.parquet": "untrusted", "retyped.parquet": "untrusted"}
    details = {name.rpartition("/")[2]: json.loads(detail) for name, detail in rig.query('select id, detail from "window"')}
    assert "extra" in json.dumps(details["new.parquet"])
    assert all(set(map(str, detail)) for detail in details.values())
    rig.verify()
