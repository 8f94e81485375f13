"""A page to try the digits on: draw one or upload a picture, and see what the model makes of it.

    serve-model digits --stage staging          # in one terminal
    python examples/digits/page.py              # in another; then open the address that it prints

It listens on this machine only, turns pictures into 64 pixels, and asks ``serve-model`` for the answer.
"""

import argparse
import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from digits import SIDE, read_picture

PAGE = Path(__file__).with_name("page.html")
HOST = "127.0.0.1"
MAX_BYTES = 10_000_000
"""Largest picture file that is taken."""

TIMEOUT_S = 10.0


class PageServer(ThreadingHTTPServer):
    """Serves the page and answers its pictures.

    Args:
        port: To listen on; 0 finds a free one.
        scorer: Address of ``serve-model``.
    """

    daemon_threads = True

    def __init__(self, port: int, scorer: str) -> None:
        super().__init__((HOST, port), PageHandler)
        self.scorer = scorer

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}"


class PageHandler(BaseHTTPRequestHandler):
    """``GET /`` is the page; ``POST /picture`` takes a picture file and answers with JSON."""

    server: PageServer

    def do_GET(self) -> None:
        """The page."""
        if self._is_for_somebody_else():
            return
        if self.path != "/":
            self._send(404, {"message": "There is only one page."})
            return
        self._write(200, "text/html; charset=utf-8", PAGE.read_bytes())

    def do_POST(self) -> None:
        """A picture: what it looks like to the model, and what the model says."""
        if self._is_for_somebody_else():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/picture" or not length.isdigit():
            self.close_connection = True
            self._send(404, {"message": "Send a picture to /picture."})
            return
        if int(length) > MAX_BYTES:
            self.close_connection = True
            self._send(413, {"message": f"The picture is larger than {MAX_BYTES // 1_000_000} MB."})
            return
        try:
            picture = read_picture(self.rfile.read(int(length)))
            self._send(200, {"pixels": picture.astype(int).tolist(), **ask(self.server.scorer, picture)})
        except ValueError as error:
            self._send(400, {"message": str(error)})
        except (OSError, http.client.HTTPException):
            hint = f"serve-model does not answer at {self.server.scorer}. Is it running?"
            self._send(502, {"message": hint})

    def _is_for_somebody_else(self) -> bool:
        """Another page's name that leads here is refused: only a person at this machine may ask."""
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if name in {HOST, "localhost"}:
            return False
        self.close_connection = True
        self._send(403, {"message": "Open the page by the address that it printed."})
        return True

    def _send(self, status: int, content: dict[str, Any]) -> None:
        self._write(status, "application/json", json.dumps(content).encode())

    def _write(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src blob: data:")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Says nothing: the terminal shows the address only."""


def ask(scorer: str, picture: Any) -> dict[str, Any]:
    """Asks ``serve-model`` what an 8×8 picture is.

    Returns:
        ``answer`` (None: nothing found), ``nothing_found``, ``typicality``, ``probabilities`` by digit, and
        ``version``.

    Raises:
        OSError: It cannot be reached.
        ValueError: It does not like the question; its own words.
    """
    address = urlsplit(scorer)
    row = {f"pixel_{place}": value for place, value in enumerate(picture.reshape(SIDE * SIDE).tolist())}
    body = json.dumps({"dataframe_records": [row], "params": {"output": "full"}})
    line = http.client.HTTPConnection(str(address.hostname), address.port or 80, timeout=TIMEOUT_S)
    try:
        line.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        reply = line.getresponse()
        content = json.loads(reply.read())
    finally:
        line.close()
    if reply.status != http.client.OK:
        raise ValueError(f"serve-model says: {content.get('message', reply.status)}")
    full = content["predictions"][0]
    prefix = "probability_"
    return {
        "answer": full["answer"],
        "nothing_found": full["nothing_found"],
        "typicality": full["typicality"],
        "probabilities": {
            name.removeprefix(prefix): value for name, value in full.items() if name.startswith(prefix)
        },
        "version": reply.headers.get("X-Model-Version", "?"),
    }


def main(argv: list[str] | None = None) -> int:
    """Serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A page to try the digits on.")
    parser.add_argument("--port", type=int, default=8090, help="where the page is (default 8090)")
    parser.add_argument("--scorer", default="http://127.0.0.1:8080", help="address of serve-model")
    options = parser.parse_args(argv)
    with PageServer(options.port, options.scorer) as server:
        print(f"Open {server.address}   (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
