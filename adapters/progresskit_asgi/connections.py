"""
A connection that receives records of jobs, and the two ways of sending on it.

A server's `send` is a coroutine that most often does not suspend: uvicorn writes to the socket at once. So the
coroutine is stepped by hand, without a task. If it does suspend, the reader is slow: the rest becomes a task, and until
that is done only the newest records are kept. For other servers, and behind middleware, each connection has a task that
sends, and that is woken for each record.
"""

from __future__ import annotations

import logging
from asyncio import FIRST_COMPLETED, Future, Task, create_task, get_running_loop, wait
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Generator, Iterable

    from .messages import FanoutRecord, Message, Receive, Send


logger = logging.getLogger("progresskit.web")


class Connection:
    """
    One connection, written to by one sender at a time.

    Records are kept until `next` takes them, so that a slow reader gets the newest state and no backlog.
    """

    __slots__ = ("_busy", "_send", "_stepped", "_wake", "closed", "ids", "on_held")

    def __init__(self, send: Send, ids: Iterable[str], *, stepped: bool) -> None:
        self.ids: Iterable[str] = tuple(ids)
        self.closed = False
        """True once the client has left, or has received everything."""
        self.on_held: Callable[[Connection], None] = _ignore_held
        """Is called when a record is held back until `recheck` has asked about it."""
        self._send, self._stepped = send, stepped
        self._busy: Task[None] | None = None
        self._wake: Future[None] | None = None

    def keep(self, id: str, rendered: FanoutRecord) -> None:
        """Keep a record in place of an older one, until the connection has its turn."""
        raise NotImplementedError

    def next(self, now: float) -> Message | None:
        """Take the next message, if there is one; after the last one, `closed` is set."""
        raise NotImplementedError

    @property
    def is_drained(self) -> bool:
        """True where `next` is known to return None now."""
        return False

    @property
    def holds(self) -> bool:
        """True while a record is held back, which the viewer was not authorised for."""
        return False

    async def recheck(self) -> Collection[str]:
        """Authorise a record that is held back; return the ids whose records the connection must not receive."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Do the work that is due at this time of the monotonic clock."""
        raise NotImplementedError

    def end(self) -> None:
        """End the connection, as soon as the reader has taken the messages sent so far."""
        raise NotImplementedError

    def flush(self, now: float) -> None:
        """Send the kept messages, or wake the task that sends them."""
        if not self._stepped:
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)
            return
        while self._busy is None and not self.closed and (message := self.next(now)) is not None:
            self._step(message)
            if self.is_drained:
                break

    def leave(self) -> None:
        """Stop sending: the reader has left."""
        self.closed = True
        if self._busy is not None:
            self._busy.cancel()

    async def run(self, receive: Receive) -> None:
        """Serve it until the reader has left, or has received everything."""
        if self._stepped:  # uvicorn says that the reader has left, as ASGI has it, also when an answer is through
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await race(self.sending(), _until_left(receive))

    async def sending(self) -> None:
        """Send the kept messages and all later ones, to the last."""
        try:
            while not self.closed:
                message = self.next(monotonic())
                if message is not None:
                    await self._send(message)
                else:
                    self._wake = get_running_loop().create_future()
                    await self._wake
        except OSError:
            self.closed = True  # by which servers report that the client has left

    def _step(self, message: Message) -> None:
        sending: Any = self._send(message)
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        except OSError:
            self.closed = True
            return
        self._busy = create_task(_Rest(sending, awaited).finish())
        self._busy.add_done_callback(self._through)

    def _through(self, task: Task[None]) -> None:
        self._busy = None
        error = None if task.cancelled() else task.exception()
        self.closed = self.closed or task.cancelled() or error is not None
        if error is not None and not isinstance(error, OSError):
            logger.error("could not send progress to a viewer", exc_info=error)
        self.flush(monotonic())


def _ignore_held(connection: Connection) -> None:
    """Ignore the call: a connection without a fan-out receives no records."""


def can_be_stepped(receive: Receive, send: Send) -> bool:
    """
    Return whether a `send` may be taken to its end outside of the task that it was given to.

    That is known of uvicorn's own. A middleware in between, or another server, may count on its task.
    """
    owner = getattr(send, "__self__", None)
    return type(owner).__module__.startswith("uvicorn.protocols.http.") and getattr(receive, "__self__", None) is owner


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def race(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them until the first has ended, and cancel the others; raise the first one's exception."""
    tasks = [create_task(coroutine) for coroutine in coroutines]
    try:
        ended, _ = await wait(tasks, return_when=FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.add_done_callback(_retrieve)
            task.cancel()
        await wait(tasks)  # `gather` would lose the message of a cancellation, by which AnyIO knows its own
    for task in ended:
        task.result()


def _retrieve(task: Task[None]) -> None:
    """Take the exception of a task that nobody waits for, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


class _Rest:
    """The rest of a coroutine that has suspended, waiting for `awaited`."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine, self._awaited = coroutine, awaited

    async def finish(self) -> None:
        """Take it to its end."""
        await self

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, awaited = self._coroutine, self._awaited
        while True:
            step: Callable[[], Any] = partial(coroutine.send, None)
            try:
                yield awaited
            except BaseException as error:
                step = partial(coroutine.throw, error)
            try:
                awaited = step()
            except StopIteration:
                return
