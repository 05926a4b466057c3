"""The `Surface`: takes a `Request` and returns the `Response`."""

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING

from progresskit import default_kit
from progresskit.errors import BackendError, ConfigurationError, InvalidId
from progresskit.hosts import Hosts
from progresskit.kit import Kit
from progresskit.progress import check_id

from . import records, reports, tokens
from .calls import Awaiting, Blocking, run
from .context import RequestContext
from .fallback import Fallback
from .files import file
from .http import RETRY_AFTER, problem
from .limiter import PROCESS_LIMITER, ConnectionLimiter
from .poll_cache import PollCache
from .routes import Query, find, parse_query
from .tokens import TOKEN_SECONDS, Right
from .users import signed_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from typing import Any

    from progresskit.config import Settings
    from progresskit.hub import Viewer
    from progresskit.progress import JobId, Progress

    from .calls import Calls
    from .http import Response
    from .request import Request

logger = logging.getLogger("progresskit.web")


class Surface:
    """
    Answers every request below the mount.

    `kit` is by default the current default kit. `limiter` counts streams and long polls; by default there is one per
    process. `before_wait` is called in a thread before a long wait, `in_thread` runs a blocking function for an event
    loop. `keep_context` is called in the thread that answers, and returns a function that runs others later in the
    context of the request.
    """

    def __init__(
        self,
        kit: Kit | None = None,
        *,
        limiter: ConnectionLimiter = PROCESS_LIMITER,
        before_wait: Callable[[], None] | None = None,
        in_thread: Callable[..., Awaitable[Any]] | None = None,
        keep_context: Callable[[], Callable[[Callable[[], Any]], Any]] | None = None,
    ) -> None:
        if not isinstance(kit, Kit | None):
            raise ConfigurationError(f"kit must be a progresskit.Kit, not a {type(kit).__name__}")
        self._kit = kit
        self._limiter = limiter
        self._before_wait = before_wait
        self._in_thread = in_thread
        self._keep_context = keep_context
        self.own_hosts: Hosts | None = None
        """Requests may be for these, and for those of the setting `allowed_hosts`; None: any, unless that is set."""
        self._host_logged = False
        self._polls: PollCache | None = None
        self._checked: Settings | None = None  # those that `warn_unshared` has looked at
        self._fallback = Fallback()

    @property
    def limiter(self) -> ConnectionLimiter:
        """Counts the streams and long polls."""
        return self._limiter

    @property
    def kit(self) -> Kit:
        """The kit that the shown jobs belong to."""
        return self._kit or default_kit.default()

    def warn_unshared(self) -> None:
        """Warn, once, where other processes cannot see the jobs that are shown; a shim calls it for each request."""
        kit = self.kit
        if self._checked is not kit.settings:
            self._checked = kit.settings
            kit.warn_unshared("a web server")

    def check(self, *, site_loaded: bool = False) -> None:
        """Raise ConfigurationError for wrong settings: see `Kit.check`; also if the site lets no page watch a job."""
        settings = self.kit.check(site_loaded=site_loaded)
        if not (tokens.can_sign(settings.secret_key) or settings.authorize or settings.allow_anonymous):
            raise ConfigurationError(
                f"{tokens.NO_KEY}. Without one, set `authorize` or `allow_anonymous`, and pages use raw ids"
            )

    def sign(
        self,
        id_or_ids: JobId | Iterable[JobId],
        right: Right = "watch",
        ttl: float = TOKEN_SECONDS,
        *,
        user: Any = None,
    ) -> str:
        """Return a token; see `progresskit.web.sign`."""
        return tokens.make(self.kit.settings.secret_key, id_or_ids, right, ttl, time(), user)

    def key_of_bar(self, id: Any, cancel: bool, ttl: float, user: Any = None, native: Any = None) -> str:
        """
        Return the token of a bar on a page, for that user alone if one is given.

        With the setting `bind_tokens_to_user` every token is bound: by default to the user of the framework's request,
        `native`. Raises InvalidId for an invalid job id.
        """
        settings = self.kit.settings
        if id is None:
            raise InvalidId("a bar needs the id of a job, not None")
        if user is None and settings.bind_tokens_to_user:
            user = signed_in(native, settings.user)
            if user is None:
                raise ConfigurationError(
                    "with bind_tokens_to_user a bar is for one user, and none is signed in here: pass `user` to "
                    "progress_bar, or set the setting `user`"
                )
        return self.sign(check_id(id), "cancel" if cancel else "watch", ttl, user=user)

    def fallback(self, id: JobId, address: str, record: Progress | None = None) -> str:
        """
        Return the content of a bar for browsers without JavaScript, as safe HTML.

        It shows the `record` with its age. By default the record is read here; in an event loop, where reading would
        block, the content is a link.
        """
        return self._fallback.html(self.kit, id, address, record)

    def serves_host_of(self, request: Request) -> bool:
        """
        Return whether a request is for a host that is allowed.

        A request without a host does not come from a browser, and so was not made by a page.
        """
        allowed, host = self.kit.settings.allowed_hosts, request.headers.get("host")
        if host is None or (allowed is None and self.own_hosts is None):
            return True
        if self.own_hosts is not None and self.own_hosts.allow(host):
            return True
        if allowed is not None and Hosts(tuple(allowed)).allow(host):
            return True
        if not self._host_logged:
            self._host_logged = True
            logger.warning("Refused a request for the host %r, which is not in the setting allowed_hosts", host[:100])
        return False

    def answer(self, request: Request) -> Response:
        """Answer in this thread; a stream is then to be iterated with `for`."""
        return run(self._answer(request, Blocking(self.kit, self._before_wait, self._keep_context)))

    async def aanswer(self, request: Request) -> Response:
        """Answer without blocking the event loop; a stream is then to be iterated with `async for`."""
        return await self._answer(request, Awaiting(self.kit, self._in_thread))

    def view(self, ids: Collection[str] = ()) -> Viewer:
        """
        Return a viewer of these jobs, for a shim that writes to many connections from one task.

        `add` and `drop` change its jobs; `get` and `await aget` return the newest records of those that changed. It has
        to be closed, and is `closed` once the kit was.
        """
        return self.kit.hub.view(ids)

    def context(self, request: Request) -> RequestContext:
        """Return the context of a connection that is not answered by `aanswer` (WebSocket), in an event loop."""
        return self._context(request, Query(), Awaiting(self.kit, self._in_thread))

    async def _answer(self, request: Request, calls: Calls) -> Response:
        try:
            response = await self._route(request, calls)
        except BackendError as error:
            logger.warning("progress cannot be read or stored now: %s", error)
            response = problem(503, "The records cannot be read or stored now.", Retry_After=RETRY_AFTER)
        return response._replace(body=b"") if request.method == "HEAD" else response

    async def _route(self, request: Request, calls: Calls) -> Response:
        if not self.serves_host_of(request):
            return problem(400, "This host is not served here: see the setting allowed_hosts.")
        route = find(request.path)
        if route is None:
            return problem(404, "This address does not exist.")
        method = "GET" if request.method == "HEAD" else request.method
        if method not in route.methods:
            return problem(405, f"This address allows {route.allow} only.", Allow=route.allow)
        if route.file is not None:
            return file(request, route.file)
        try:
            query = parse_query(request.query)
        except ValueError as error:
            return problem(400, str(error))
        context = self._context(request, query, calls)
        if route.key is None:
            return await _OF_MANY[route.name](context)
        return await _OF_ONE[route.name, method](context, route.key)

    def _context(self, request: Request, query: Query, calls: Calls) -> RequestContext:
        kit = self.kit
        return RequestContext(request, query, kit, calls, self._limiter, self._poll_cache(kit), kit.settings)

    def _poll_cache(self, kit: Kit) -> PollCache:
        polls = self._polls
        if polls is None or not polls.serves(kit.hub):
            polls = self._polls = PollCache(kit)
        return polls


_OF_MANY = {"records": records.records, "streams": records.streams}
_OF_ONE = {
    ("record", "GET"): records.record,
    ("record", "PUT"): reports.report,
    ("stream", "GET"): records.stream,
    ("cancel", "POST"): records.cancel,
}
