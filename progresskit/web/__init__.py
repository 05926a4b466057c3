"""
The HTTP surface, without a framework: what applications call, and all that a shim for a web framework uses.

Pages get keys from `sign`. A shim makes a `Request` of its framework's own, gives it to `Surface.answer` in a thread or
to `Surface.aanswer` in an event loop, and turns the `Response` into its framework's own. `mount_path` checks the prefix
that a site chose, `host_settings` hands the settings of the framework to the default kit, and `wsgi_abort` finds what
cuts a connection off whose client reads nothing.

A body that is a `Stream` is iterated by the framework. A shim that writes to many viewers from one task, or to
WebSockets, takes the stream apart instead: `Surface.view` gives the records, `RenderedRecord` renders each once,
`EventEncoder` makes the events of one stream, `Guard` holds back what a viewer may not see, and `Surface.limiter`
counts connections.

Shims import `progresskit`, `progresskit.web`, `progresskit.errors` and `progresskit.config`; the modules below this one
are private. `progresskit.testing.ShimContract` is the suite that each shim passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.hosts import Hosts
from progresskit.hub import Viewer
from progresskit.kit import framework as host_settings

from .access import Guard, Run, run_of
from .context import Jobs, RequestContext
from .cutoffs import wsgi_abort
from .events import COMMENT, EventEncoder, Form, RenderedRecord, named_record, retry_event
from .headers import foreign_origin
from .http import Headers, Request, Response, Server, SharedHeaders
from .limiter import ConnectionLimiter
from .routes import mount_path
from .streams import Stream
from .surface import Surface
from .tokens import MAX_IDS, TOKEN_SECONDS, Right
from .users import owner_only

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
    "SharedHeaders",
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
]


def sign(
    id_or_ids: JobId | Iterable[JobId], rights: Right = "watch", ttl: float = TOKEN_SECONDS, *, user: Any = None
) -> str:
    """
    Return a key that a page may hold: for one job or up to 100, to watch or also to cancel, for `ttl` seconds.

    It is signed with the secret key of the default kit. A key for several jobs is as good as several keys: what it
    opens is named by the jobs' ids. With a `user` (the framework's object, or its key) it opens nothing unless that
    user is signed in.

    Raises ConfigurationError where there is no secret key, InvalidId for what is no job id, and ValueError for no id or
    more than 100, for other rights, for a `ttl` that is not over 0 and finite, and for a user who is nobody.
    """
    return Surface().sign(id_or_ids, rights, ttl, user=user)
