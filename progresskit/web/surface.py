"""The one thing that a shim needs: it takes a `Request` and gives the `Response`."""

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING

from progresskit import kit as kits
from progresskit.errors import BackendError

from . import records, streams, tokens
from .budget import PROCESS, Budget
from .calls import Awaiting, Blocking, run
from .exchange import Exchange
from .files import file
from .http import problem
from .routes import find, parse_query
from .tokens import TOKEN_SECONDS, Right

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

    from progresskit.kit import Kit

    from .calls import Calls
    from .http import Request, Response

logger = logging.getLogger("progresskit.web")


class Surface:
    """
    Answers every request below the mount.

    For the default kit of the moment unless it is given another. `before_wait` is called in a thread that is about to
    wait long, `in_thread` runs a function that may block for an event loop.
    """

    def __init__(
        self,
        kit: Kit | None = None,
        *,
        budget: Budget = PROCESS,
        before_wait: Callable[[], None] | None = None,
        in_thread: Callable[..., Awaitable[Any]] | None = None,
    ) -> None:
        self._kit = kit
        self._budget = budget
        self._before_wait = before_wait
        self._in_thread = in_thread

    @property
    def kit(self) -> Kit:
        """Whose jobs are shown."""
        return self._kit or kits.default()

    def sign(self, id_or_ids: str | Iterable[str], rights: Right = "watch", ttl: float = TOKEN_SECONDS) -> str:
        """Return a token; see `progresskit.web.sign`."""
        return tokens.make(self.kit.settings.secret_key, id_or_ids, rights, ttl, time())

    def answer(self, request: Request) -> Response:
        """Answer in this thread; a stream is then to be iterated with `for`."""
        return run(self._answer(request, Blocking(self.kit, self._before_wait)))

    async def aanswer(self, request: Request) -> Response:
        """Answer without blocking the event loop; a stream is then to be iterated with `async for`."""
        return await self._answer(request, Awaiting(self.kit, self._in_thread))

    async def _answer(self, request: Request, calls: Calls) -> Response:
        try:
            response = await self._route(request, calls)
        except BackendError as error:
            logger.warning("progress cannot be read now: %s", error)
            response = problem(503, "Progress cannot be read now.", Retry_After=records.RETRY_AFTER)
        return response._replace(body=b"") if request.method == "HEAD" else response

    async def _route(self, request: Request, calls: Calls) -> Response:
        route = find(request.path)
        if route is None:
            return problem(404, "There is no such address.")
        if request.method != route.method and not (request.method == "HEAD" and route.method == "GET"):
            return problem(405, f"This address knows {route.allow} only.", Allow=route.allow)
        if route.file is not None:
            return file(request, route.file)
        query = parse_query(request.query)
        if query is None:
            return problem(400, "The query cannot be read.")
        exchange = Exchange(request, query, self.kit, calls, self._budget)
        if route.key is None:
            return await _OF_MANY[route.name](exchange)
        return await _OF_ONE[route.name](exchange, route.key)


_OF_MANY = {"records": records.records, "streams": streams.streams}
_OF_ONE = {"record": records.record, "stream": streams.stream, "cancel": records.cancel}
