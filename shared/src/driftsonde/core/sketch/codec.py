"""Sketches as bytes: magic, version, checksum, then one zstd frame of typed fields. Never pickle.

Layout, little-endian: `DSK` · version u8 · CRC-32 of the rest u32 · zstd(fields). A field is a type byte, a length u32 and
that many bytes. The same counts give the same bytes: columns are written in name order and nothing depends on time.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import zstandard

from driftsonde.core.sketch.numeric import Counts, Floats
from driftsonde.core.sketch.table import ColumnSketch, TableSketch

VERSION = 1
MAX_BYTES = 256 * 1024 * 1024
"""What a sketch may grow to when it is unpacked."""

_MAGIC = b"DSK"
_HEADER = struct.Struct("<3sBI")
_WIDTHS = (np.uint8, np.uint16, np.uint32, np.uint64)


class SketchError(ValueError):
    """Bytes that are no sketch of ours, are damaged, or come from a newer version."""


def pack(payload: bytes) -> bytes:
    """Frame a payload with magic, version and checksum."""
    body = zstandard.ZstdCompressor(level=3, write_checksum=False, write_content_size=True).compress(payload)
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
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_BYTES)
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
        width = next(w for w in _WIDTHS if top <= np.iinfo(w).max)
        raw = values.astype(np.dtype(width).newbyteorder("<")).tobytes()
        self._out += b"c" + struct.pack("<BI", np.dtype(width).itemsize, len(values)) + raw

    def floats(self, values: Floats) -> None:
        """Append IEEE doubles."""
        self._out += b"f" + struct.pack("<I", len(values)) + values.astype("<f8").tobytes()

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
        dtype = next((np.dtype(w) for w in _WIDTHS if np.dtype(w).itemsize == width), None)
        if dtype is None:
            raise SketchError("sketch holds counts of an unknown width")
        values = np.frombuffer(self._take(width * length), dtype=dtype.newbyteorder("<"))
        if len(values) and values.max() > np.iinfo(np.int64).max:
            raise SketchError("sketch holds a count out of range")
        return values.astype(np.int64)

    def floats(self) -> Floats:
        """Read doubles."""
        self._expect(b"f")
        (length,) = struct.unpack("<I", self._take(4))
        return np.frombuffer(self._take(8 * length), dtype="<f8").astype(np.float64)

    def texts(self) -> list[str]:
        """Read a list of texts."""
        return [self.text() for _ in range(self.integer())]

    def finish(self) -> None:
        """Say that nothing may follow."""
        if self._at != len(self._payload):
            raise SketchError("sketch has bytes after its end")


def encode_table(sketch: TableSketch) -> bytes:
    """Serialise; the same counts give the same bytes on every platform."""
    out = Writer()
    out.text("table")
    out.text(sketch.baseline)
    for value in (sketch.rows, sketch.bad_rows, sketch.unreadable):
        out.integer(value)
    out.texts(sorted(sketch.new))
    out.integer(len(sketch.columns))
    for name in sorted(sketch.columns):
        column = sketch.columns[name]
        out.text(name)
        out.integer(column.nulls)
        out.integer(column.invalid)
        out.counts(column.counts)
    return out.finish()


def decode_table(data: bytes) -> TableSketch:
    """Read back what `encode_table` wrote.

    Raises:
        SketchError: if the bytes are anything else.
    """
    source = Reader(data)
    if source.text() != "table":
        raise SketchError("not the sketch of a table")
    baseline = source.text()
    rows, bad_rows, unreadable = (source.integer() for _ in range(3))
    new = frozenset(source.texts())
    columns = {}
    for _ in range(source.integer()):
        name, nulls, invalid = source.text(), source.integer(), source.integer()
        columns[name] = ColumnSketch(source.counts(), nulls, invalid)
    source.finish()
    return TableSketch(baseline, rows, bad_rows, unreadable, columns, new)
