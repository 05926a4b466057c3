"""
A server that speaks the wire of the browser component and knows nothing of jobs.

Tests put records into it and read its log of requests. Run by hand it shows every state of the component on one page:

    python tests/browser/gallery/stub.py 8010
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

HERE = Path(__file__).parent
COMPONENT = HERE.parents[2] / "progresskit" / "web" / "progresskit.js"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}

Record = dict[str, Any]
Sent = dict[str, Record | None]
"""The newest record that a stream has sent of each key; None for a refusal."""


def moment(seconds_from_now: float = 0, now: datetime | None = None) -> str:
    """Write a moment as the wire does."""
    at = (now or datetime.now(UTC)) + timedelta(seconds=seconds_from_now)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record(seq: int = 1, *, run: int = 1, attempt: int = 1, **fields: Any) -> Record:
    """Make a record of a running job; `fields` replace what is usual."""
    now = datetime.now(UTC)  # once: how long a job has run is to be the same however long this takes
    made: Record = {
        "id": "job",
        "kind": None,
        "state": "running",
        "current": 0,
        "total": None,
        "unit": None,
        "steps": None,
        "step": None,
        "description": "",
        "meta": {},
        "rate": None,
        "eta": None,
        "result": None,
        "error": None,
        "attempt": attempt,
        "version": f"{run}.{attempt}.{seq}",
        "stalled": False,
        "cancel_requested": False,
        "parts": None,
        "parent": None,
        "created_at": moment(-20, now),
        "started_at": moment(-18, now),
        "updated_at": moment(0, now),
        "finished_at": None,
        "next_retry_at": None,
        "part_of": None,
        **fields,
    }
    made["done"] = made["state"] in ("succeeded", "failed", "cancelled")
    made["cursor"] = "loyw3v28-" + made["version"] + "s" * made["stalled"] + "c" * made["cancel_requested"]
    if made["done"] and made["finished_at"] is None:
        made["finished_at"] = moment(0, now)
    if "percent" not in fields:
        made["percent"] = percent_of(made)
    return made


def cursor_of(job: Record | None) -> str | None:
    return job["cursor"] if job else None


def is_over(job: Record | None) -> bool:
    return job is None or job["done"]


def percent_of(made: Record) -> float | None:
    if made["state"] == "succeeded":
        return 100
    return min(made["current"] * 10_000 // made["total"] / 100, 99.99) if made["total"] else None


@dataclass(frozen=True)
class Request:
    """One line of the log; `at` is when it came, in seconds of a clock that only goes forward."""

    method: str
    path: str
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)

    @property
    def keys(self) -> list[str]:
        return parse_qs(urlsplit(self.path).query).get("key", [])

    @property
    def is_stream(self) -> bool:
        return urlsplit(self.path).path.endswith("/events/")

    @property
    def is_poll(self) -> bool:
        return urlsplit(self.path).path == "/progress/"


@dataclass
class Stub:
    """The server's state; every change wakes the streams and whoever waits in `until`."""

    jobs: dict[str, Record] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    log: list[Request] = field(default_factory=list)
    open_streams: int = 0
    streams: str = "open"  # or "refused": no budget; "broken": 500; "held": a proxy that buffers
    cancel_status: int = 202
    retry_after: str | None = None
    retry_ms: int = 2_000
    ended: int = 0
    longest_url: int = 60_000
    away: bool = False  # the store that polls are answered from
    port: int = 0

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, on the port of the last time if there was one."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Die as a killed server does: every connection ends at once."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        with self.changed:
            server.alive = False
            self.changed.notify_all()
        server.cut_all()
        server.server_close()

    def end_streams(self) -> None:
        """End the streams that are open, as a server does that lets none live long; return when they have ended."""
        with self.changed:
            self.ended += 1
            self.changed.notify_all()
        self.until(lambda: self.open_streams == 0)

    def put(self, key: str, new: Record) -> None:
        with self.changed:
            self.jobs[key] = new
            self.changed.notify_all()

    def request_cancel(self, key: str) -> None:
        with self.changed:
            if old := self.jobs.get(key):
                self.put(key, {**old, "cancel_requested": True, "cursor": old["cursor"] + "c"})

    def note(self, request: Request) -> None:
        with self.changed:
            self.log.append(request)
            self.changed.notify_all()

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait for a condition on the log or the streams."""
        with self.changed:
            came = self.changed.wait_for(condition, seconds)
            assert came, f"not within {seconds} s; the log: {[request.path for request in self.log]}"

    def fill_gallery(self) -> None:
        """Put every state on show."""
        rows: Record = {"total": 12_400, "unit": "rows", "description": "Importing customers.csv"}
        upload: Record = {"unit": "B", "description": "Uploading backup.tar.zst"}
        steps = [
            {"name": "Read", "weight": 1, "state": "succeeded", "percent": 100},
            {"name": "Check", "weight": 2, "state": "running", "percent": 42},
            {"name": "Store", "weight": 5, "state": "pending", "percent": 0},
        ]
        album: Record = {"total": 100, "unit": "pictures", "description": "Resizing the album"}
        parts = {"size": 100, "succeeded": 37, "failed": 2, "cancelled": 0, "running": 8}
        self.jobs |= {
            "running": record(current=5_208, **rows, rate=412.0, eta=17.4),
            "bytes": record(current=734_003_200, total=3_221_225_472, **upload, rate=38_100_000, eta=65),
            "slow": record(current=3, total=48, unit="models", description="Training", rate=0.0042, eta=10_700),
            "indeterminate": record(current=18_230, unit="files", description="Scanning the archive", rate=1_204.0),
            "bare": record(),
            "pending": record(state="pending", description="Importing orders.csv", started_at=None),
            "retrying": record(state="retrying", current=5_208, **rows, next_retry_at=moment(42)),
            "second": record(attempt=2, current=520, **rows, rate=398.0, eta=31),
            "stalled": record(current=9_114, **rows, stalled=True),
            "cancelling": record(current=9_114, **rows, rate=390.0, cancel_requested=True),
            "cancelled": record(state="cancelled", current=9_114, **rows),
            "failed": record(
                state="failed",
                current=7_302,
                **rows,
                error={"type": "ValueError", "message": "row 7,303 has 11 columns, 12 were expected"},
            ),
            "failed-early": record(
                state="failed",
                description="Scanning the archive",
                current=40,
                error={"type": "PermissionError", "message": None},
            ),
            "succeeded": record(state="succeeded", current=12_400, **rows),
            "steps": record(current=5_208, **rows, steps=steps, step=2, percent=23, rate=412.0, eta=130),
            "parts": record(current=37, **album, parts=parts, percent=41.5, eta=42),
            "parts-failed": record(
                state="failed",
                current=98,
                **album,
                parts={**parts, "succeeded": 98, "running": 0},
                percent=98.7,
            ),
            "long": record(
                current=29,
                total=100,
                unit="reports",
                description="Rebuilding the quarterly revenue reports of every subsidiary, with currency conversion "
                "as of the last day of each month and all corrections that came in after the books were closed",
                rate=2.4,
                eta=29.6,
            ),
        }
        self.refused.add("refused")

    @property
    def stream_requests(self) -> list[Request]:
        return [request for request in self.log if request.is_stream]

    @property
    def polls(self) -> list[Request]:
        return [request for request in self.log if request.is_poll]


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = False  # so that closing waits for them: what has died holds no stream open

    def __init__(self, address: tuple[str, int], stub: Stub) -> None:
        super().__init__(address, _Handler)
        self.stub = stub
        self.alive = True
        self._sockets: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._sockets.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):  # it has gone by itself
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a browser that hangs up is no error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def stub(self) -> Stub:
        return cast(_Server, self.server).stub

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/progress/progresskit.js", "/progress/progress-group.js"):
            self.send_file(COMPONENT.with_name(Path(path).name))
        elif not path.startswith("/progress/"):
            self.send_file(HERE / (path.strip("/") or "index.html"))
        else:
            self.send_progress(self.take())

    def send_progress(self, request: Request) -> None:
        if len(request.path) > self.stub.longest_url:
            self.send(414)
        elif request.is_stream:
            self.send_stream(request)
        elif request.is_poll and self.stub.away:
            self.send(503)
        elif request.is_poll:
            self.send_jobs(request)
        else:
            self.send(404)

    def do_POST(self) -> None:
        request = self.take()
        key = unquote(request.path.split("/")[2])
        status = self.stub.cancel_status if request.headers.get("x-progresskit") else 403
        if status == 202:
            self.stub.request_cancel(key)
        self.send(status)

    def take(self) -> Request:
        request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        self.stub.note(request)
        return request

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, path: Path) -> None:
        if path.is_file() and path.suffix in TYPES:
            kind = TYPES[path.suffix]
            policy = "default-src 'self'; base-uri 'none'; require-trusted-types-for 'script'"
            self.send(
                200, path.read_bytes(), Content_Type=kind, Content_Security_Policy=policy, Cache_Control="no-cache"
            )
        elif path.name == "favicon.ico":
            self.send(204)
        else:
            self.send(404)

    def send_jobs(self, request: Request) -> None:
        jobs = {key: None if key in self.stub.refused else self.stub.jobs.get(key) for key in request.keys}
        etag = '"' + ".".join(job["cursor"] if job else "-" for job in jobs.values()) + '"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if self.stub.retry_after:
            headers["Retry-After"] = self.stub.retry_after
        if request.headers.get("if-none-match") == etag:
            self.send(304, b"", **headers)
        else:
            self.send(200, json.dumps({"jobs": jobs}).encode(), Content_Type="application/json", **headers)

    def send_stream(self, request: Request) -> None:
        if self.stub.streams == "broken":
            self.send(500)
        elif request.headers.get("last-event-id") == "end":
            self.send(204)
        else:
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-cache, no-transform")
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):  # the browser hung up
                self.wfile.write(b"retry: 1000\n\n")
                self.stream(request)

    def stream(self, request: Request) -> None:
        if self.stub.streams == "refused":
            self.write_beginning(request, {})
            self.wfile.write(f"retry: {self.stub.retry_ms}\n\n".encode())
            return
        ended = self.stub.ended
        self.count_stream(1)
        try:
            self.follow(request, ended)
        finally:
            self.count_stream(-1)

    def count_stream(self, change: int) -> None:
        with self.stub.changed:
            self.stub.open_streams += change
            self.stub.changed.notify_all()

    def follow(self, request: Request, ended: int) -> None:
        sent: Sent = {}
        self.write_beginning(request, sent)
        while cast(_Server, self.server).alive and self.stub.ended == ended and not self.hung_up():
            if self.stub.streams != "held":
                self.write_news(request, sent)
                if all(key in sent and is_over(sent[key]) for key in request.keys):
                    self.wfile.write(b"id: end\n\n")
                    return
            with self.stub.changed:
                self.stub.changed.wait(0.05)

    def hung_up(self) -> bool:
        self.connection.settimeout(0)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(None)

    def write_beginning(self, request: Request, sent: Sent) -> None:
        """Send what there is, and then that this was all: only the page of the tests listens for that."""
        if self.stub.streams != "held":
            self.write_news(request, sent)
        self.wfile.write(b"event: begun\ndata: -\n\n")

    def write_news(self, request: Request, sent: Sent) -> None:
        for key in request.keys:
            job = None if key in self.stub.refused else self.stub.jobs.get(key)
            if job is None and key not in self.stub.refused:
                continue
            if key in sent and cursor_of(sent[key]) == cursor_of(job):
                continue
            sent[key] = job
            data = json.dumps({"key": key, "job": job})
            self.wfile.write(f"event: progress\ndata: {data}\n\n".encode())


def keep_moving(stub: Stub) -> None:
    """Run one job over and over."""
    for step in itertools.count():
        rounds, moved = divmod(step, 400)
        state = "succeeded" if moved == 399 else "running"
        moving = record(
            moved,
            run=rounds + 1,
            current=(moved + 1) * 31,
            total=12_400,
            unit="rows",
            description="Importing customers.csv",
            state=state,
            rate=310.0,
        )
        stub.put("live", moving | {"eta": (400 - moved) / 10})
        time.sleep(0.1)


if __name__ == "__main__":
    gallery = Stub(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8010)
    gallery.start()
    print(gallery.url)
    gallery.fill_gallery()
    try:
        keep_moving(gallery)
    finally:
        gallery.stop()
