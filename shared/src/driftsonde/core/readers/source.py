"""Where bytes come from: a file or an object of which ranges can be read, and a file object over it for pyarrow."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from driftsonde.core.errors import RetryableError, UnreadableObject
from driftsonde.core.ports import ObjectStore
from driftsonde.core.readers.limits import MIB

Span = tuple[int, int]
"""Bytes [start, stop)."""

_MAX_GAP = 256 * 1024  # reading this much for nothing costs less than another request
_MAX_SPAN = 16 * MIB
_PARALLEL = 4
_READ_DEADLINE = 300.0


class Source(Protocol):
    """An object of known size whose ranges can be read, from a worker thread.

    Attributes:
        verified: whether what was read so far has been compared with a checksum.
    """

    name: str
    size: int
    verified: bool

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop).

        Raises:
            GoneError, SupersededError: if the object is not what it was.
            RetryableError: if it cannot be reached.
        """
        ...

    def start(self, spans: Sequence[Span]) -> Callable[[], list[bytes]]:
        """Begin to read several ranges, where that helps; what is returned waits for them."""
        ...


class LocalSource:
    """A file on this machine."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.size, self.verified = path.stat().st_size, False
        self._path = path

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop)."""
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def start(self, spans: Sequence[Span]) -> Callable[[], list[bytes]]:
        """Read when asked for the result: a file is near."""
        return lambda: [self.read(start, stop) for start, stop in spans]


class StoreSource:
    """One pinned object version, read from a worker thread through the event loop that owns the client.

    Attributes:
        waited: seconds that the worker thread stood still for bytes; what was fetched while it counted cost none.

    Args:
        first: its first bytes, if they are known; they are not asked for again.
        md5: of all bytes, if it is known; it is compared when they were read in their order.
    """

    def __init__(
        self, store: ObjectStore, loop: asyncio.AbstractEventLoop, bucket: str, key: str, size: int, *,
        version: str | None = None, etag: str | None = None, first: bytes = b"", md5: str | None = None,
    ) -> None:  # fmt: skip
        self._first, self._md5, self.verified = first, md5, False
        self.waited = 0.0
        self._hashed, self._hash = 0, hashlib.md5(usedforsecurity=False)
        self.name, self.size = f"s3://{bucket}/{key}", size
        self._store, self._loop = store, loop
        self._bucket, self._key, self._version, self._etag = bucket, key, version, etag

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop).

        Raises:
            UnreadableObject: `checksum`, at the last of all bytes.
        """
        data = self._first[start:stop] if stop <= len(self._first) else self.start([(start, stop)])()[0]
        if self._md5 is not None:
            self._check(start, data)
        return data

    def _check(self, start: int, data: bytes) -> None:
        """Add what was read in order to the checksum; a reader that begins anew begins a new one."""
        if start == 0:
            self._hashed, self._hash = 0, hashlib.md5(usedforsecurity=False)
        if start != self._hashed:
            return
        self._hash.update(data)
        self._hashed += len(data)
        if self._hashed == self.size:
            if self._hash.hexdigest() != self._md5:
                raise UnreadableObject(f"{self.name} is not what was stored: its MD5 is not {self._md5}", reason="checksum")
            self.verified = True

    def start(self, spans: Sequence[Span]) -> Callable[[], list[bytes]]:
        """Begin to read several ranges, a few at a time."""
        if all(stop <= len(self._first) for _, stop in spans):
            return lambda: [self._first[start:stop] for start, stop in spans]
        reading = asyncio.run_coroutine_threadsafe(self._read_many(spans), self._loop)

        def result() -> list[bytes]:
            began = time.monotonic()
            try:
                return reading.result(_READ_DEADLINE)
            except TimeoutError as exc:  # an OSError, which a reader would take for damage
                reading.cancel()
                raise RetryableError(f"{self.name} could not be read in time") from exc
            finally:
                self.waited += time.monotonic() - began

        return result

    async def _read_many(self, spans: Sequence[Span]) -> list[bytes]:
        gate = asyncio.Semaphore(_PARALLEL)

        async def one(start: int, stop: int) -> bytes:
            async with gate:
                return await self._store.read(self._bucket, self._key, start, stop, version=self._version, etag=self._etag)

        return await asyncio.gather(*(one(start, stop) for start, stop in spans))


def coalesce(spans: Sequence[Span], *, gap: int = _MAX_GAP, longest: int = _MAX_SPAN) -> list[Span]:
    """Join ranges that lie close together, and cut long ones, so that few requests of a good size remain."""
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return [(at, min(at + longest, stop)) for start, stop in joined for at in range(start, stop, longest)]


class RangeFile(io.RawIOBase):
    """A seekable file over a source: planned ranges are prefetched, the rest is read ahead in blocks.

    Args:
        source: where the bytes are.
        block: how much to read ahead.
        blocks: how many blocks are kept.
    """

    def __init__(self, source: Source, *, block: int = 4 * MIB, blocks: int = 2) -> None:
        self._source = source
        self._block, self._blocks = block, blocks
        self._at = 0
        self._planned: list[tuple[int, bytes]] = []
        self._begun: tuple[list[Span], Callable[[], list[bytes]]] | None = None
        self._cache: OrderedDict[int, bytes] = OrderedDict()

    def plan(self, spans: Sequence[Span], *, then: Sequence[Span] = ()) -> None:
        """Fetch ranges in place of those fetched before, and begin to fetch those that will be planned after them."""
        self._planned = []  # first: what was read before is not held any longer
        begun = self._begun
        wanted = coalesce(spans)
        result = begun[1] if begun is not None and begun[0] == wanted else self._source.start(wanted)
        self._begun = None
        fetched = result()
        if then:
            following = coalesce(then)
            self._begun = following, self._source.start(following)
        self._planned = [(span[0], data) for span, data in zip(wanted, fetched, strict=True)]

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and return the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes from the position; as a view of them, if they were planned."""
        stop = self._source.size if size is None or size < 0 else min(self._at + size, self._source.size)
        parts = []
        while self._at < stop:
            part = self._some(self._at, stop)
            self._at += len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: object) -> int:
        """Fill a buffer; for the standard library's decompressors."""
        view = memoryview(buffer)  # type: ignore[arg-type]  # RawIOBase passes any writable buffer
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _some(self, start: int, stop: int) -> bytes:
        for at, data in self._planned:
            if at <= start < at + len(data):
                return cast("bytes", memoryview(data)[start - at : stop - at])  # Arrow takes any buffer, and copies none
        number = start // self._block
        if number not in self._cache:
            while len(self._cache) >= self._blocks:
                self._cache.popitem(last=False)
            self._cache[number] = self._source.read(number * self._block, min((number + 1) * self._block, self._source.size))
        self._cache.move_to_end(number)
        data = self._cache[number]
        offset = start - number * self._block
        if offset >= len(data):
            raise EOFError(f"{self._source.name} ends at {number * self._block + len(data)}, not at {self._source.size}")
        return data[offset : offset + stop - start]
