"""Damage, by seed: the same seed and corpus give the same input."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

_ODD: Final = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\n",
    b'"',
    b"{",
    b"[",
    b",",
    b":",
    b"-",
    b"null",
    b"1e999",
    b"\xff\xff\xff\x7f",
    b"\xef\xbb\xbf",
    b"&a *a ",
)
_MOST: Final = 6  # changes of one input


def _flip(data: bytearray, draw: random.Random, _other: bytes) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _byte(data: bytearray, draw: random.Random, _other: bytes) -> None:
    data[draw.randrange(len(data))] = draw.randrange(256)


def _cut(data: bytearray, draw: random.Random, _other: bytes) -> None:
    del data[draw.randrange(len(data)) :]


def _remove(data: bytearray, draw: random.Random, _other: bytes) -> None:
    begin = draw.randrange(len(data))
    del data[begin : begin + draw.randrange(1, 30)]


def _insert(data: bytearray, draw: random.Random, _other: bytes) -> None:
    begin = draw.randrange(len(data))
    data[begin:begin] = draw.choice(_ODD) * draw.choice((1, 1, 2, 5, 300))


def _repeat(data: bytearray, draw: random.Random, _other: bytes) -> None:
    begin = draw.randrange(len(data))
    data[begin:begin] = data[begin : begin + draw.randrange(1, 60)] * draw.randrange(1, 9)


def _splice(data: bytearray, draw: random.Random, other: bytes) -> None:
    begin = draw.randrange(len(data))
    data[begin:] = other[draw.randrange(len(other)) :]


_CHANGES: Final[Sequence[Callable[[bytearray, random.Random, bytes], None]]] = (
    _flip,
    _flip,
    _byte,
    _byte,
    _cut,
    _remove,
    _insert,
    _repeat,
    _splice,
)


def mutated(corpus: Sequence[bytes], seed: int) -> bytes:
    """Return a good input with a few changes."""
    draw = random.Random(seed)
    data = bytearray(draw.choice(corpus))
    for _ in range(draw.randint(1, _MOST)):
        if data:
            draw.choice(_CHANGES)(data, draw, draw.choice(corpus))
    return bytes(data)
