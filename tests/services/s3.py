"""moto's S3 server in this process, which refuses uploads and cuts downloads off where a test wants it to."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from .threads import serving

BUCKET = "bucket"
SECRETS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


class S3Server:
    """
    A bucket of moto's, by HTTP.

    `pause` is called in the middle of each upload and of each download, with the name of that.
    """

    def __init__(self, pause: Callable[[str], None] = lambda middle: None) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._pause = pause
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._serving = serving(self._server)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.refuse = 0
        """How many of the next uploads are refused once they have arrived, so that the client repeats them."""
        self.cut_off = 0
        """How many of the next downloads are cut off half way."""

    def __enter__(self) -> Self:
        self._serving.__enter__()
        with closing(self.client()) as client:
            client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serving.__exit__(kind, error, trace)

    def client(self) -> Any:
        """Return a client of boto3."""
        return client_of(self.url)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").partition("/")[2]
        if key and method == "PUT":
            length = int(environ["CONTENT_LENGTH"])
            half = environ["wsgi.input"].read(length // 2)
            self._pause("upload")
            body = half + environ["wsgi.input"].read(length - len(half))
            if self.refuse:
                self.refuse -= 1
                start_response("503 Slow Down", [("Content-Length", "0")])
                return []
            environ["wsgi.input"] = io.BytesIO(body)
        answer = self._moto(environ, start_response)
        return self._in_halves(answer, environ["werkzeug.socket"]) if key and method == "GET" else answer

    def _in_halves(self, answer: Iterable[bytes], connection: socket.socket) -> Iterator[bytes]:
        body = b"".join(answer)
        yield body[: len(body) // 2]
        self._pause("download")
        if self.cut_off:
            self.cut_off -= 1
            connection.shutdown(socket.SHUT_RDWR)
        yield body[len(body) // 2 :]


def client_of(url: str) -> Any:
    """Return a client of the server at that address."""
    import boto3

    return boto3.client("s3", endpoint_url=url, **SECRETS)
