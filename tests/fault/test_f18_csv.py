"""F18 CSV that is none: a gzip bomb, a huge field, ragged rows, NUL, a byte-order mark, UTF-16, a wrong delimiter.

Promised: a bounded read; up to 1 % of bad rows are counted as bad, beyond that the object is dead-lettered.
"""

from __future__ import annotations

import gzip

from .harness import ROWS, Rig, rows

MIB = 1024 * 1024


def lines(delimiter: str = ",", count: int = ROWS) -> str:
    """Return rows as CSV."""
    table = rows(1, count=count)
    return f"x{delimiter}plan\n" + "".join(f"{row['x']}{delimiter}{row['plan']}\n" for row in table.to_pylist())


def test_csv_is_counted_or_dead_lettered(rig: Rig) -> None:
    plain = lines()
    counted = {
        "plain.csv": plain.encode(),
        "mark.csv": plain.encode("utf-8-sig"),
        "semicolons.csv": lines(";").encode(),
        "tabs.csv": lines("\t").encode(),
        "crlf.csv": plain.replace("\n", "\r\n").encode(),
        "packed.csv.gz": gzip.compress(plain.encode()),
        "ragged.csv": plain.encode() + b"1,free,3\n1\n",
    }
    refused = {
        "bomb.csv.gz": gzip.compress(b"x,plan\n" + b"0" * 64 * MIB),
        "field.csv": plain.encode() + b"1," + b"a" * 3 * MIB + b"\n",
        "header.csv": b"x" * 3 * MIB,
        "quote.csv": plain.encode() + b'1,"' + b"free\n" * MIB,
        "nul.csv": b"\x00" * 5_000,
        "utf16.csv": plain.encode("utf-16"),
        "utf16-without-mark.csv": plain.encode("utf-16-le"),
        "very-ragged.csv": plain.encode() + b"1,free,3\n" * 20,
    }
    for name, body in {**counted, **refused}.items():
        rig.drop(name, body)
    rig.settled()
    verdicts = rig.verdicts()
    assert {name: verdicts[name] for name in counted} == dict.fromkeys(counted, ("ok", ROWS))
    assert {verdicts[name][0] for name in refused} == {"untrusted"}
    assert {letter["reason"] for letter in rig.letters()} == {"unreadable", "too_large", "bad_rows"}
    assert len(rig.letters()) == len(refused)
    rig.verify()
