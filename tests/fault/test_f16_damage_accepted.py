"""F16 A bit flips, and the reader would take what is left for data.

Promised: where pages carry checksums no flipped bit in them counts; the object is dead-lettered, or counts as it was written.
"""

from __future__ import annotations

import random

from .harness import ROWS, Rig, parquet, rows


def test_flipped_bits_in_checked_pages_never_count(rig: Rig) -> None:
    whole = parquet(rows(1), write_page_checksum=True, use_dictionary=False, compression="none")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    rig.drop("whole.parquet", whole)
    random.seed(16)
    for number in range(20):
        damaged = bytearray(whole)
        damaged[random.randrange(200, footer)] ^= 1 << random.randrange(8)
        rig.drop(f"{number}.parquet", bytes(damaged))
    rig.settled()
    assert rig.verdicts().pop("whole.parquet") == ("ok", ROWS)
    assert rig.outcomes()["counted"] <= 3  # a flip in a header that changes nothing that is read
    assert {letter["reason"] for letter in rig.letters()} == {"unreadable"}
    (sketches,) = rig.query("select count(distinct sketch) from part where rows > 0")
    assert sketches == (1,)
    rig.verify()
