from http import HTTPStatus

from progresskit.web import Request, Server, Surface, wsgi_read

surface = Surface()


class Headers:
    """The headers of a request, by name in lower case."""

    def __init__(self, environ):
        self.environ = environ

    def get(self, name):
        return self.environ.get(f"HTTP_{name.upper().replace('-', '_')}")


def application(environ, start_response):
    """Answer what is below the mount; mount it at `/progress`."""
    request = Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"].removeprefix("/"),
        query=environ.get("QUERY_STRING", ""),
        headers=Headers(environ),
        server=Server.THREADS if environ["wsgi.multithread"] else Server.ONE_BY_ONE,
        native=environ,  # what `authorize` is given
        read=wsgi_read(environ),
    )
    status, headers, body = surface.answer(request)
    start_response(f"{status} {HTTPStatus(status).phrase}", list(headers.items()))
    return [body] if isinstance(body, bytes) else body
