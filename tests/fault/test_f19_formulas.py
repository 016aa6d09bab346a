"""F19 Cells that a spreadsheet would run: they start with = + - or @.

Promised: they are data, and reach the sketch, the verdict and the report's page as the text they are.
"""

from __future__ import annotations

import pyarrow as pa

from .conftest import MakeRig
from .harness import parquet

FORMULAS = ["=1+1", "+A1", "-A1", "@SUM(A1)", '=HYPERLINK("http://example.com")', "=cmd|' /C calc'!A0"]


def test_formulas_are_levels_like_any_other(make_rig: MakeRig) -> None:
    rig = make_rig()
    texts = FORMULAS * 500
    base = pa.table({"x": [float(number % 7) for number in range(len(texts))], "plan": texts})
    rig.aws(lambda s3, _: s3.put_object(Bucket=rig.bucket, Key="base/a.parquet", Body=parquet(base)))
    rig.start()
    quoted = "".join(f'{row["x"]},"{row["plan"].replace(chr(34), chr(34) * 2)}"\n' for row in base.to_pylist())
    rig.drop("same.parquet", parquet(base))
    rig.drop("same.csv", b"x,plan\n" + quoted.encode())
    rig.settled()
    assert rig.verdicts() == dict.fromkeys(("same.parquet", "same.csv"), ("ok", len(texts)))
    (sketches,) = rig.query("select count(distinct sketch) from part where rows > 0")
    assert sketches == (1,)
    assert rig.letters() == []
    rig.verify()
