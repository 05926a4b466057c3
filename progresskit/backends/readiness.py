"""Waits in an event loop until a socket of another library is ready."""

from __future__ import annotations

from asyncio import AbstractEventLoop, _get_running_loop, get_running_loop
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable


def is_known() -> bool:
    """Return whether the running loop can wait for sockets: Windows' own cannot."""
    return type(get_running_loop()).add_reader is not AbstractEventLoop.add_reader


async def readable(descriptor: int, seconds: float | None) -> None:
    """Return when there is something to read. Raises TimeoutError."""
    loop = get_running_loop()
    await _wait(loop, loop.add_reader, loop.remove_reader, descriptor, seconds)


async def writable(descriptor: int, seconds: float | None) -> None:
    """Return when something can be written. Raises TimeoutError."""
    loop = get_running_loop()
    await _wait(loop, loop.add_writer, loop.remove_writer, descriptor, seconds)


async def _wait(
    loop: AbstractEventLoop,
    add: Callable[..., None],
    remove: Callable[[int], bool],
    descriptor: int,
    seconds: float | None,
) -> None:
    waiter: Future[None] = loop.create_future()
    timer = None if seconds is None else loop.call_later(seconds, _expire, waiter)
    add(descriptor, _finish, waiter)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
        if _get_running_loop() is loop:  # else it has ended, or is that of the parent process
            remove(descriptor)


def _finish(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _expire(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("the server has not replied in time"))
