"""
What the handlers ask of the world, in the way of the server at hand.

Handlers are written once, as coroutines. On a threaded server all that they await is done right there in the thread, so
they never suspend and `run` takes them to their end in one step, without an event loop.
"""

from __future__ import annotations

import asyncio
import logging
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from progresskit.hub import Viewer
    from progresskit.kit import Kit
    from progresskit.progress import Progress

T = TypeVar("T")

logger = logging.getLogger("progresskit.web")

# One that looks up the job often raises where there is none: that must not tell an existing id from another.
_FAILED = "authorize() failed; the request is refused"


class Calls(Protocol):
    """What takes time."""

    async def get_many(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records of those ids that are known."""

    async def cancel(self, id: str) -> bool:
        """Ask the job to stop."""

    async def news(self, viewer: Viewer, seconds: float) -> dict[str, Progress]:
        """Wait for what is new."""

    async def permit(self, authorize: Callable[..., Any], *arguments: Any) -> bool:
        """Ask the site's own function; one that fails refuses."""


class Blocking:
    """Does all in the calling thread; `before_wait` is called there before a long wait."""

    def __init__(self, kit: Kit, before_wait: Callable[[], None] | None = None) -> None:
        self._kit = kit
        self._before_wait = before_wait

    async def get_many(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records of those ids that are known."""
        return self._kit.get_many(ids)

    async def cancel(self, id: str) -> bool:
        """Ask the job to stop."""
        return self._kit.cancel(id)

    async def news(self, viewer: Viewer, seconds: float) -> dict[str, Progress]:
        """Wait for what is new."""
        if self._before_wait is not None:
            self._before_wait()
        return viewer.get(seconds)

    async def permit(self, authorize: Callable[..., Any], *arguments: Any) -> bool:
        """Ask the site's own function, in an event loop of its own if it needs one."""
        try:
            verdict = authorize(*arguments)
            return bool(asyncio.run(_finish(verdict)) if isawaitable(verdict) else verdict)
        except Exception:
            logger.exception(_FAILED)
            return False


class Awaiting:
    """Awaits all; `in_thread` runs a function that may block, `asyncio.to_thread` unless told."""

    def __init__(self, kit: Kit, in_thread: Callable[..., Awaitable[Any]] | None = None) -> None:
        self._kit = kit
        self._in_thread = in_thread or asyncio.to_thread

    async def get_many(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records of those ids that are known."""
        return await self._kit.aget_many(ids)

    async def cancel(self, id: str) -> bool:
        """Ask the job to stop."""
        return await self._kit.acancel(id)

    async def news(self, viewer: Viewer, seconds: float) -> dict[str, Progress]:
        """Wait for what is new."""
        return await viewer.aget(seconds)

    async def permit(self, authorize: Callable[..., Any], *arguments: Any) -> bool:
        """Ask the site's own function: in a thread unless it is a coroutine function, as it may ask a database."""
        try:
            if asyncio.iscoroutinefunction(authorize):
                return bool(await authorize(*arguments))
            verdict = await self._in_thread(authorize, *arguments)
            return bool(await verdict if isawaitable(verdict) else verdict)
        except Exception:
            logger.exception(_FAILED)
            return False


async def _finish(awaitable: Awaitable[T]) -> T:
    return await awaitable


def run(awaitable: Awaitable[T]) -> T:
    """Return what an awaitable returns that never suspends."""
    try:
        next(awaitable.__await__())
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("what was to block has suspended instead")
