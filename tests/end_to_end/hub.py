"""A server of models in this process, as huggingface_hub asks for them, which stops in the middle of each file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.services.threads import serving

REPOSITORY = "org/model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub(files: Mapping[str, bytes], pause: Callable[[str], None]) -> AbstractContextManager[str]:
    """Serve one repository of these files, and give the address; `pause` is called in the middle of each."""
    return serving(ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, files, pause)))


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, files: Mapping[str, bytes], pause: Callable[[str], None], *args: Any) -> None:
        self._files, self._pause = files, pause
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._begin(self.path.rpartition("/")[2])

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == f"/api/models/{REPOSITORY}/revision/main":
            self._answer({"id": REPOSITORY, "sha": COMMIT, "siblings": []})
        elif path == f"/api/models/{REPOSITORY}/tree/{COMMIT}":
            self._answer(
                [
                    {"type": "file", "path": name, "size": len(body), "oid": sha1(body).hexdigest()}
                    for name, body in self._files.items()
                ]
            )
        else:
            name = path.rpartition("/")[2]
            body = self._begin(name)
            self.wfile.write(body[: len(body) // 2])
            self._pause(name)
            self.wfile.write(body[len(body) // 2 :])

    def _begin(self, name: str) -> bytes:
        body = self._files[name]
        self.send_response(200)
        self.send_header("ETag", f'"{sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
