"""What stands between a service and what it needs, and lets a test break it: a TCP relay, and an HTTP relay scripted call by call."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class TcpProxy:
    """Relays connections to a port, or to a socket file; `cut` drops them all and refuses new ones, `stall` lets them stand still."""

    def __init__(self, target: int | str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._broken = False
        self._flowing = threading.Event()
        self._flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection; new ones are closed at once."""
        with self._lock:
            self._broken = True
            for connection in self._open:
                _close(connection)
            self._open.clear()

    def stall(self) -> None:
        """Keep connections open, and let nothing through."""
        self._flowing.clear()

    def restore(self) -> None:
        """Be a wire again."""
        self._broken = False
        self._flowing.set()

    def close(self) -> None:
        """End."""
        self.cut()
        self._flowing.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._broken:
                _close(client)
                continue
            try:
                server = _connected(self._target)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._flowing.wait()
                sink.sendall(data)
        _close(source)
        _close(sink)
        with self._lock:
            self._open -= {source, sink}


def _connected(target: int | str) -> socket.socket:
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target), timeout=5)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(target)
    return connection


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@dataclass(frozen=True)
class Call:
    """One request. `action`: the operation of a JSON protocol, e.g. `DeleteMessageBatch`; empty for S3."""

    method: str
    path: str
    action: str
    number: int


@dataclass(frozen=True)
class Fault:
    """What is done to a request.

    Args:
        status: answer with this instead of asking; 0 to ask.
        code: the AWS error code of that answer.
        after: ask first, then answer with `status` all the same: it was done, and nobody heard of it.
        body_bytes: pass only so much of the body on, then close.
        delay: seconds to wait first.
        drip: seconds between single bytes of the body.
        then: called after the answer was relayed.
    """

    status: int = 0
    code: str = "InternalError"
    after: bool = False
    body_bytes: int | None = None
    delay: float = 0.0
    drip: float = 0.0
    then: Callable[[], None] | None = None


Script = Callable[[Call], Fault | None]


@dataclass
class HttpProxy:
    """Relays HTTP to an endpoint; `script` says what happens to each call, None lets it through."""

    target: str
    script: Script = lambda _call: None
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy._relay(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def _relay(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = _body(request)
        action = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        call = Call(request.command, request.path, action, len(self.calls))
        self.calls.append(call)
        fault = self.script(call) or Fault()
        time.sleep(fault.delay)
        if fault.status and not fault.after:
            _refuse(request, fault)
            return
        status, headers, data = self._ask(request, body)
        if fault.status:
            _refuse(request, fault)
            return
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                request.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(data)))
        request.send_header("Content-Length", length)
        request.end_headers()
        with contextlib.suppress(OSError):
            for piece in _pieces(data[: fault.body_bytes], fault.drip):
                request.wfile.write(piece)
                request.wfile.flush()
        if fault.body_bytes is not None:
            request.close_connection = True
        if fault.then is not None:
            fault.then()

    def _ask(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.target).netloc, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "transfer-encoding", "expect")}
        connection.request(request.command, request.path, body=body, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), data


def _body(request: http.server.BaseHTTPRequestHandler) -> bytes:
    return request.rfile.read(int(request.headers.get("Content-Length", 0)))


def _pieces(data: bytes, drip: float) -> Iterator[bytes]:
    if not drip:
        yield data
        return
    for place in range(len(data)):
        time.sleep(drip)
        yield data[place : place + 1]


def _refuse(request: http.server.BaseHTTPRequestHandler, fault: Fault) -> None:
    if request.headers.get("X-Amz-Target"):
        data, kind = f'{{"__type": "com.amazonaws#{fault.code}", "message": "planted"}}'.encode(), "application/x-amz-json-1.0"
    else:
        data, kind = f"<Error><Code>{fault.code}</Code><Message>planted</Message></Error>".encode(), "application/xml"
    request.send_response(fault.status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(0 if request.command == "HEAD" else len(data)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)
