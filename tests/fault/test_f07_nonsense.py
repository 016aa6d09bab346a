"""F07 Nonsense in the queue, and keys that are written in odd ways.

Promised: nonsense is dead-lettered with its reason; a key is decoded once.
"""

from __future__ import annotations

from .harness import Rig, parquet, rows

NONSENSE = {
    "this is no JSON": "not_json",
    "[1, 2]": "unknown_shape",
    "{}": "unknown_shape",
    '{"Records": 7}': "unknown_shape",
    "[" * 10_000: "not_json",
    '{"a": ' * 10_000 + "1" + "}" * 10_000: "not_json",
    '{"a": "\\ud800"}': "unknown_shape",
    "x" * 250_000: "not_json",
}
KEYS = ["plain.parquet", "a b.parquet", "a+b.parquet", "a%2Bb.parquet", "é ü 漢.parquet", "a&b=c.parquet", "..%2F..%2Fetc.parquet"]


def test_nonsense_is_dead_lettered(rig: Rig) -> None:
    for text in NONSENSE:
        rig.send(text)
    rig.settled()
    assert sorted(letter["reason"] for letter in rig.letters()) == sorted(NONSENSE.values())
    assert rig.outcomes() == {}


def test_keys_are_decoded_once(rig: Rig) -> None:
    for seed, key in enumerate(KEYS):
        rig.drop(key, parquet(rows(seed)))
    rig.settled()
    assert sorted(rig.verdicts()) == sorted(KEYS)
    rig.verify()
