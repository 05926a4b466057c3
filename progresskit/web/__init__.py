"""
The HTTP surface, without a framework: the functions for applications, and the interface of shims for web frameworks.

Pages get tokens from `sign`. A shim converts its framework's request into a `Request`, passes it to `Surface.answer` in
a thread or to `Surface.aanswer` in an event loop, and converts the `Response` into its framework's response.
`mount_path` checks the prefix that a site chose, `host_settings` passes the framework's settings to the default kit,
`wsgi_read` returns the function that reads the body of a WSGI request, and `wsgi_abort` one that cuts off a connection
whose client stopped reading.

A body that is a `Stream` is iterated by the framework. A shim that writes to many viewers from one task, or to
WebSockets, takes the stream apart instead: `Surface.view` gives the records, `RenderedRecord` renders each once,
`EventEncoder` makes the events of one stream, `Guard` holds back what a viewer may not see, and `Surface.limiter`
counts connections.

Shims import `progresskit`, `progresskit.web`, `progresskit.errors` and `progresskit.config`; the modules below this one
are private. `progresskit.testing.ShimContract` is the suite that each shim passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.default_kit import host_settings
from progresskit.hosts import Hosts
from progresskit.hub import Viewer

from .context import Guard, Jobs, RequestContext
from .events import COMMENT, EventEncoder, named_record, retry_event
from .headers import foreign_origin
from .http import Response
from .limiter import ConnectionLimiter
from .rendering import Form, RenderedRecord, Run, run_of
from .request import Headers, Request, Server
from .routes import mount_path
from .streams import Stream
from .surface import Surface
from .tokens import MAX_IDS, TOKEN_SECONDS, Right
from .users import owner_only
from .wsgi import wsgi_abort, wsgi_read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from progresskit.progress import JobId as JobId

__all__ = [
    "COMMENT",
    "MAX_IDS",
    "TOKEN_SECONDS",
    "ConnectionLimiter",
    "EventEncoder",
    "Form",
    "Guard",
    "Headers",
    "Hosts",
    "Jobs",
    "RenderedRecord",
    "Request",
    "RequestContext",
    "Response",
    "Right",
    "Run",
    "Server",
    "Stream",
    "Surface",
    "Viewer",
    "foreign_origin",
    "host_settings",
    "mount_path",
    "named_record",
    "owner_only",
    "retry_event",
    "run_of",
    "sign",
    "wsgi_abort",
    "wsgi_read",
]


def sign(
    id_or_ids: JobId | Iterable[JobId], right: Right = "watch", ttl: float = TOKEN_SECONDS, *, user: Any = None
) -> str:
    """
    Return a token, valid for `ttl` seconds: to watch one job or up to 100, also to cancel them, or to report one.

    The token is signed with the secret key of the default kit. A token for several jobs is equivalent to several
    tokens: answers name its jobs by their ids. With a `user` (the framework's object, or the user's key) the token is
    valid only while that user is signed in.

    Raises ConfigurationError without a secret key, InvalidId for an invalid job id, and ValueError for no id or more
    than 100, for several to report, for another right, for a `ttl` that is not positive and finite, and for an
    anonymous user.
    """
    return Surface().sign(id_or_ids, right, ttl, user=user)
