"""A Parquet object of many equal row groups, of which only one is held, and a relay that serves it as S3 would."""

from __future__ import annotations

import bisect
import http.server
import io
import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from .proxies import HttpProxy

ETAG = "feedfacefeedfacefeedfacefeedface-10"  # of an object that was put in parts


class Repeated(io.RawIOBase):
    """What a table, written as several row groups, would be as a file."""

    def __init__(self, table: pa.Table, groups: int) -> None:
        self._starts: list[int] = []
        self._pieces: list[bytes] = []
        self._known: dict[bytes, bytes] = {}
        self.size = 0
        with pq.ParquetWriter(self, table.schema, compression="none", use_dictionary=False, write_statistics=False) as writer:
            for _ in range(groups):
                writer.write_table(table)

    def writable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return where the next byte goes."""
        return self.size

    def write(self, data: object) -> int:
        """Add bytes; those that are there already take no room."""
        piece = bytes(data)  # type: ignore[call-overload]  # Arrow passes a buffer
        self._starts.append(self.size)
        self._pieces.append(self._known.setdefault(piece, piece))
        self.size += len(piece)
        return len(piece)

    def part(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop)."""
        found, place = [], bisect.bisect_right(self._starts, start) - 1
        while place < len(self._pieces) and self._starts[place] < stop:
            begin = self._starts[place]
            found.append(self._pieces[place][max(0, start - begin) : stop - begin])
            place += 1
        return b"".join(found)


@dataclass
class Serving(HttpProxy):
    """Answers for one key, and relays all else. `read`: bytes that were asked of it."""

    path: str = ""
    body: Repeated | None = None
    read: int = 0

    def _ask(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self.body is None or not request.path.startswith(self.path) or request.command not in ("GET", "HEAD"):
            return super()._ask(request, body)
        headers = [("ETag", f'"{ETAG}"'), ("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")]
        if request.command == "HEAD":
            return 200, [*headers, ("Content-Length", str(self.body.size))], b""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"])
        assert wanted is not None
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, self.body.size)
        self.read += stop - start
        return 206, [*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{self.body.size}")], self.body.part(start, stop)
