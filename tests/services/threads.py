"""HTTP servers in a thread of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any


@contextmanager
def serving(server: Any) -> Iterator[str]:
    """Have a server of `socketserver` or werkzeug serve in a thread; give its address, and close it."""
    thread = Thread(target=server.serve_forever, args=(0.05,), name="serving")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
