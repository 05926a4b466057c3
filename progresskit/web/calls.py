"""
Calls of the handlers that take time, for threaded servers and for event loops.

Handlers are written once, as coroutines. On a threaded server each awaited call runs in the calling thread, so handlers
never suspend, and `run` completes them in one step, without an event loop.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine

    from progresskit.hub import Viewer
    from progresskit.kit import Kit
    from progresskit.progress import Progress
    from progresskit.remote_runs import Accepted, Conflict, RemoteReport, RemoteRun

    Runner = Callable[[Callable[[], Any]], Any]
    """Runs a function in the context of a request."""

T = TypeVar("T")

logger = logging.getLogger("progresskit.web")

# One that looks up the job often raises where there is none: that must not reveal which ids exist.
_FAILED = "authorize() failed; the request is refused"


class Blocking:
    """
    Runs every call in the calling thread; `before_wait` is called there before a long wait.

    `keep_context` is called while a request is answered, and returns a function that runs others later in the context
    of the request; by default in a copy of the thread's context.
    """

    def __init__(
        self,
        kit: Kit,
        before_wait: Callable[[], None] | None = None,
        keep_context: Callable[[], Runner] | None = None,
    ) -> None:
        self._kit = kit
        self._before_wait = before_wait
        self._keep_context = keep_context

    async def get_many(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records of those ids that are known."""
        return self._kit.get_many(ids)

    async def cancel(self, id: str) -> bool:
        """Ask the job to stop."""
        return self._kit.cancel(id)

    async def report(self, run: RemoteRun | str, report: RemoteReport) -> Accepted | Conflict:
        """Store a report of a run, or the first one of a new run of that id."""
        return self._kit._report(run, report)

    async def news(self, viewer: Viewer, seconds: float) -> dict[str, Progress]:
        """Wait for new records."""
        self.release()
        return viewer.get(seconds)

    def release(self) -> None:
        """Release resources that the site's own functions may have acquired, before waiting for a reader."""
        if self._before_wait is not None:
            self._before_wait()

    async def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the site's own function, in an event loop of its own if it needs one; None if it fails."""
        try:
            answer = function(*arguments)
            return asyncio.run(_finish(answer)) if isawaitable(answer) else answer
        except Exception:
            logger.exception(_FAILED)
            return None

    def context(self) -> Any:
        """Return a function that runs others in the context of this request."""
        return copy_context().run if self._keep_context is None else self._keep_context()

    async def within(self, context: Any, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the context of a request, later than its answer began."""
        returned: T = context(lambda: run(coroutine()))
        return returned


class Awaiting:
    """Awaits every call; `in_thread` runs a function that may block, by default `asyncio.to_thread`."""

    def __init__(self, kit: Kit, in_thread: Callable[..., Awaitable[Any]] | None = None) -> None:
        self._kit = kit
        self._in_thread = in_thread or asyncio.to_thread

    async def get_many(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records of those ids that are known."""
        return await self._kit.aget_many(ids)

    async def cancel(self, id: str) -> bool:
        """Ask the job to stop."""
        return await self._kit.acancel(id)

    async def report(self, run: RemoteRun | str, report: RemoteReport) -> Accepted | Conflict:
        """Store a report of a run, or the first one of a new run of that id."""
        return await self._kit._areport(run, report)

    async def news(self, viewer: Viewer, seconds: float) -> dict[str, Progress]:
        """Wait for new records."""
        return await viewer.aget(seconds)

    def release(self) -> None:
        """Do nothing: the site's own functions run in threads that do not wait for readers."""

    async def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the site's own function: in a thread unless it is a coroutine function, as it may ask a database."""
        try:
            if asyncio.iscoroutinefunction(function):
                return await function(*arguments)
            answer = await self._in_thread(function, *arguments)
            return await answer if isawaitable(answer) else answer
        except Exception:
            logger.exception(_FAILED)
            return None

    def context(self) -> Any:
        """Return a copy of the context of this request."""
        return copy_context()

    async def within(self, context: Any, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the context of a request, later than its answer began."""
        return await asyncio.create_task(coroutine(), context=context)


Calls = Blocking | Awaiting
"""The calls that take time."""


async def _finish(awaitable: Awaitable[T]) -> T:
    return await awaitable


def run(awaitable: Awaitable[T]) -> T:
    """Return the result of an awaitable that never suspends."""
    try:
        next(awaitable.__await__())
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("a call that should block has suspended instead")
