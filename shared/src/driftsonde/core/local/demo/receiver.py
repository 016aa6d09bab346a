"""A local Slack: takes what the notifier posts, as Slack would; `python -m driftsonde.core.local.demo.receiver` is one for docker-compose.yml."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/services/T000/B000/demo"


class SlackReceiver:
    """Listens while the block runs; `messages` holds what came, and GET /messages answers with it.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.messages: list[dict[str, Any]] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                messages.append(json.loads(body))
                self._answer(b"ok")

            def do_GET(self) -> None:
                self._answer(json.dumps(messages).encode())

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: the demo shows the message itself."""

        self._server = ThreadingHTTPServer((host, port), Handler)

    @property
    def url(self) -> str:
        """The webhook address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def __enter__(self) -> SlackReceiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A webhook that keeps what Slack would be told; GET /messages shows it.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the thread begins, which inherits it
    with SlackReceiver(**vars(parser.parse_args())):
        signal.sigwait(ends)
