"""What both drivers share: the settings the test passes, a receiver on loopback, and waiting."""

import faulthandler
import hashlib
import hmac
import json
import os
import socketserver
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

# Everything is on loopback: a proxy of the machine must not see it. Read by requests and httpx.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# A run takes seconds; one that hangs says where it hung and ends.
WATCHDOG_S = 150
# How long something that happens in the background may take.
PATIENCE_S = 20.0


def settings() -> dict:
    """The JSON object given as the only argument."""
    faulthandler.dump_traceback_later(WATCHDOG_S, exit=True)
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} '{{\"root\": \"http://127.0.0.1:PORT\", \"admin_key\": \"CO....\"}}'")
    given = json.loads(sys.argv[1])
    given["root"] = given["root"].rstrip("/")
    return given


def step(text: str) -> None:
    """Says what is exercised next, so that a failure shows how far the run came."""
    print(f"- {text}", flush=True)


def equal(actual: object, expected: object, what: str) -> None:
    assert actual == expected, f"{what} is {actual!r}, expected {expected!r}"


def wait_for(condition, what):
    """Calls `condition` until it returns something true, and returns that. `what` is a text or gives one at the end."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        last = condition()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain for {what() if callable(what) else what}")
        time.sleep(0.1)


def compact(value: object, ascii_only: bool = False) -> bytes:
    """The bytes in which a JSON value must be delivered when it was sent with or without whitespace."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode()


def hmac_hex(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict]:
    """A provider's request to an ingest URL, which is not part of any client."""
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


@dataclass
class Received:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def signature(self) -> str:
        assert "x-convoy-signature" in self.headers, f"{self.path} got an unsigned request: {self.headers}"
        return self.headers["x-convoy-signature"]


class Receiver:
    """Answers 200 `ok`, or 500 `not now` on the paths in `failing`, and keeps every POST."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self._received: list[Received] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two writes; without this the second waits for an acknowledgement.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                path = self.path.partition("?")[0]
                length = self.headers.get("Content-Length")
                if length is None:
                    self.answer(411, b"length required")
                    return
                body = self.rfile.read(int(length))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with outer._lock:
                    failing = path in outer.failing
                    outer._received.append(Received(path, headers, body))
                self.answer(500, b"not now") if failing else self.answer(200, b"ok")

            # A gateway may look whether the address answers before it saves an endpoint.
            def do_GET(self) -> None:
                self.answer(200, b"ok")

            do_HEAD = do_GET

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def at(self, path: str) -> list[Received]:
        with self._lock:
            return [request for request in self._received if request.path == path]

    def wait(self, path: str, count: int) -> list[Received]:
        """All requests to a path once there are `count`; more than that is an error."""
        wait_for(
            lambda: len(self.at(path)) >= count,
            lambda: f"{count} request(s) to {path}, which got {len(self.at(path))}",
        )
        received = self.at(path)
        equal(len(received), count, f"the number of requests to {path}")
        return received
