"""Reading on while what was read is worked on: decoding and counting both release the interpreter's lock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 4  # items that are handed over together: a hand-over costs as much as counting some thousand values


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator that runs in another thread, a few items ahead; its errors are raised here."""

    def take() -> list[T]:
        return list(islice(items, _AT_ONCE))

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        taking = pool.submit(take)
        while taken := taking.result():
            taking = pool.submit(take)
            yield from taken
