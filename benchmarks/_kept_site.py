"""
The server of `progresskit serve` together with an empty application, and a job to be polled.

Prints, as JSON: its port, and the paths to poll, with the ETag where there is one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from progresskit import Kit
from progresskit.cli.listener import listen_tcp
from progresskit.cli.serve import server
from progresskit.web import Surface


def bare(body: bytes) -> Any:
    """Return an application that answers all with that body."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    end = {"type": "http.response.body", "body": body}

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(end)

    return answer


def main() -> None:
    kit = Kit(sys.argv[1], secret_key="the secret of this site, long enough for it")
    record = kit.get("job")
    assert record is not None
    key = Surface(kit).sign("job")
    serving = server(kit, "/progress")
    ours: Any = serving.config.app
    nothing = bare(record.to_json().encode())

    async def either(scope: Any, receive: Any, send: Any) -> None:
        await (nothing if scope["path"] == "/bare" else ours)(scope, receive, send)

    serving.config.app = either
    with listen_tcp(("127.0.0.1", 0), backlog=2_048) as listening:
        port = listening.getsockname()[1]
        print(json.dumps({"port": port, "path": f"/progress/{key}/", "etag": f'"{record.cursor}"'}), flush=True)
        serving.run(sockets=[listening])
    kit.close()


if __name__ == "__main__":
    main()
