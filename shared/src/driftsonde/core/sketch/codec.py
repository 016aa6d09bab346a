"""Sketches as bytes: magic, version, checksum, then one zstd frame of typed fields. Never pickle.

Little-endian: `DSK` · version u8 · CRC-32 of the rest u32 · zstd(fields). A field is a type byte, a length u32 and that many
bytes. Counts are written in the narrowest type that holds the largest of them, lowest bytes first, then the next: the upper bytes
are nearly all zero and take no room once compressed, nor do the empty bins of a small drop. The same counts give the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import zstandard

from driftsonde.core.sketch.counts import Counts, Floats
from driftsonde.core.sketch.rows import Hashes, RowSample
from driftsonde.core.sketch.table import Layout, TableSketch

VERSION = 3
MAX_BYTES = 256 * 1024 * 1024
"""What a sketch may grow to when it is unpacked."""

_MAGIC = b"DSK"
_HEADER = struct.Struct("<3sBI")
_WIDTHS = (1, 2, 4, 8)
_LEVEL = 3


class _Zstd(threading.local):
    """A context for each thread: making one costs as much as packing a small drop, and threads must not share one."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


class SketchError(ValueError):
    """Bytes that are no sketch of ours, are damaged, or come from a newer version."""


def pack(payload: bytes) -> bytes:
    """Frame a payload with magic, version and checksum."""
    body = _zstd.compressor.compress(payload)
    return _HEADER.pack(_MAGIC, VERSION, zlib.crc32(body)) + body


def unpack(data: bytes) -> bytes:
    """Check a frame and return its payload.

    Raises:
        SketchError: if anything is not as `pack` made it.
    """
    if len(data) < _HEADER.size:
        raise SketchError("too short to be a sketch")
    magic, version, checksum = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC:
        raise SketchError("not a sketch: wrong magic bytes")
    if version != VERSION:
        raise SketchError(f"sketch version {version} is not supported (this is version {VERSION})")
    if zlib.crc32(body) != checksum:
        raise SketchError("sketch is damaged: checksum differs")
    try:
        if zstandard.frame_content_size(body) > MAX_BYTES:
            raise SketchError("sketch would unpack to more than the limit")
        return _zstd.decompressor.decompress(body, max_output_size=MAX_BYTES)
    except zstandard.ZstdError as exc:
        raise SketchError(f"sketch is damaged: {exc}") from exc


class Writer:
    """Appends typed fields."""

    def __init__(self) -> None:
        self._out = bytearray()

    def integer(self, value: int) -> None:
        """Append a non-negative integer below 2**63."""
        self._out += b"i" + struct.pack("<Q", value)

    def text(self, value: str) -> None:
        """Append a text."""
        raw = value.encode("utf-8", "surrogatepass")
        self._out += b"t" + struct.pack("<I", len(raw)) + raw

    def counts(self, values: Counts) -> None:
        """Append counts in the narrowest unsigned type that holds them."""
        top = int(values.max(initial=0))
        width = next(w for w in _WIDTHS if top < 1 << (8 * w))
        planes = values.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T
        self._out += b"c" + struct.pack("<BI", width, len(values)) + planes.tobytes()

    def floats(self, values: Floats) -> None:
        """Append IEEE doubles."""
        self._out += b"f" + struct.pack("<I", len(values)) + values.astype("<f8").tobytes()

    def hashes(self, values: Hashes) -> None:
        """Append hashes of 64 bits."""
        self._out += b"h" + struct.pack("<I", len(values)) + values.astype("<u8").tobytes()

    def texts(self, values: Sequence[str]) -> None:
        """Append a list of texts."""
        self.integer(len(values))
        for value in values:
            self.text(value)

    @property
    def payload(self) -> bytes:
        """Everything that was appended; what a digest is taken of, since it does not depend on the compressor's version."""
        return bytes(self._out)

    def finish(self) -> bytes:
        """Return everything that was appended, framed."""
        return pack(self.payload)


class Reader:
    """Reads fields back, in order, checking each type and length."""

    def __init__(self, data: bytes) -> None:
        self._payload = unpack(data)
        self._at = 0

    def _take(self, size: int) -> bytes:
        chunk = self._payload[self._at : self._at + size]
        if len(chunk) != size:
            raise SketchError("sketch ends too early")
        self._at += size
        return chunk

    def _expect(self, kind: bytes) -> None:
        if self._take(1) != kind:
            raise SketchError("sketch has a field of another type than expected")

    def integer(self) -> int:
        """Read an integer."""
        self._expect(b"i")
        return int(struct.unpack("<Q", self._take(8))[0])

    def text(self) -> str:
        """Read a text."""
        self._expect(b"t")
        (size,) = struct.unpack("<I", self._take(4))
        try:
            return self._take(size).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as exc:
            raise SketchError("sketch holds text that is not UTF-8") from exc

    def counts(self) -> Counts:
        """Read counts."""
        self._expect(b"c")
        width, length = struct.unpack("<BI", self._take(5))
        if width not in _WIDTHS:
            raise SketchError("sketch holds counts of an unknown width")
        planes = np.frombuffer(self._take(width * length), dtype=np.uint8).reshape(width, length)
        values = np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(-1)
        if width == 8 and len(values) and values.max() > np.iinfo(np.int64).max:
            raise SketchError("sketch holds a count out of range")
        return values.astype(np.int64)

    def floats(self) -> Floats:
        """Read doubles."""
        self._expect(b"f")
        (length,) = struct.unpack("<I", self._take(4))
        return np.frombuffer(self._take(8 * length), dtype="<f8").astype(np.float64)

    def hashes(self) -> Hashes:
        """Read hashes."""
        self._expect(b"h")
        (length,) = struct.unpack("<I", self._take(4))
        return np.frombuffer(self._take(8 * length), dtype="<u8").astype(np.uint64)

    def texts(self) -> list[str]:
        """Read a list of texts."""
        return [self.text() for _ in range(self.integer())]

    def finish(self) -> None:
        """Say that nothing may follow."""
        if self._at != len(self._payload):
            raise SketchError("sketch has bytes after its end")


def encode_table(sketch: TableSketch) -> bytes:
    """Serialise; the same counts give the same bytes."""
    return _write_table(sketch).finish()


def digest_tables(sketches: Iterable[TableSketch]) -> str:
    """Return the SHA-256 of sketches' content in their order, hexadecimal; it does not depend on how they are compressed."""
    found = hashlib.sha256()
    for sketch in sketches:
        found.update(_write_table(sketch).payload)
    return found.hexdigest()


def _write_table(sketch: TableSketch) -> Writer:
    out = Writer()
    out.text("table")
    out.text(sketch.layout.baseline)
    for value in (sketch.rows, sketch.bad_rows, sketch.unreadable):
        out.integer(value)
    out.texts(sorted(sketch.new))
    for counts in (sketch.counts, sketch.nulls, sketch.invalid):
        out.counts(counts)
    out.integer(sketch.sample.exponent)
    out.hashes(sketch.sample.hashes)
    out.counts(sketch.sample.counts)
    return out


def decode_table(data: bytes, layout: Layout) -> TableSketch:
    """Read back what `encode_table` wrote of a sketch with this layout.

    Raises:
        SketchError: if the bytes are anything else, or belong to another baseline.
    """
    source = Reader(data)
    if source.text() != "table":
        raise SketchError("not the sketch of a table")
    if source.text() != layout.baseline:
        raise SketchError("the sketch belongs to another baseline")
    rows, bad_rows, unreadable = (source.integer() for _ in range(3))
    new = frozenset(source.texts())
    counts, nulls, invalid = (source.counts() for _ in range(3))
    sample = RowSample(source.integer(), source.hashes(), source.counts())
    source.finish()
    if not sample.is_possible():
        raise SketchError("the sketch has a sample of rows that no rows could have given")
    if (len(counts), len(nulls), len(invalid)) != (layout.width, len(layout.sizes), len(layout.sizes)):
        raise SketchError("the sketch has other bins than its baseline")
    return TableSketch(layout, rows, bad_rows, unreadable, counts, nulls, invalid, new, [sample])
