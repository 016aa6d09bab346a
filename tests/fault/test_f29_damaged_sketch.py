"""F29 A stored sketch is damaged, or of a format that nobody reads.

Promised: it is never taken for another; its object is read again, and the window is what it was.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from .harness import ROWS, Rig, parquet, rows

pytestmark = pytest.mark.slow

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut short": lambda data: data[:20],
    "one byte": lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
    "another version": lambda data: data[:3] + b"\x09" + data[4:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_part_is_counted_again(rig: Rig, damage: str) -> None:
    rig.drop("a.parquet", parquet(rows(1)))
    rig.drop("b.parquet", parquet(rows(2)))
    rig.settled()
    before = rig.query("select key, sketch from part order by key")
    with rig.engine.begin() as connection:
        damaged = DAMAGE[damage](bytes(before[0][1]))
        connection.execute(text("update part set sketch = :damaged where key = 'in/a.parquet'"), {"damaged": damaged})
    rig.drop("c.parquet", parquet(rows(3)))  # its look-back reaches the damaged window
    rig.until(
        lambda: len(rig.verdicts()) == 3 and rig.query("select key, sketch from part where key < 'in/c' order by key") == before, "it"
    )
    rig.settled()
    assert {word for word, _ in rig.verdicts().values()} == {"ok"}
    assert rig.verdicts()["a.parquet"][1] == ROWS
    rig.verify()
