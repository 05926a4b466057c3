"""
A connection of an asyncio library, for backends: their methods are called from threads without a loop.

An `AsyncioConnection` runs the loop in a thread of its own, and connects again when the connection is lost. An
`AsyncioSubscription` is one to the messages of some jobs, on a connection of its own, so that a slow callback delays
no other call.
"""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from progresskit.abc import Subscription
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.urls import describe, redact

from .reconnecting import ReconnectingThread

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable
    from concurrent.futures import Future


CLOSE_SECONDS = 1.0
"""How long the library may take to close a connection."""


class AsyncioClient(Protocol):
    """The interface of the client of a library."""

    async def flush(self) -> None:
        """Return when the server has confirmed all that was sent."""

    async def close(self) -> None:
        """Close the connection."""


Client = TypeVar("Client", bound=AsyncioClient)
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Unsubscribe = Callable[[], Awaitable[None]]


class AsyncioConnection(ReconnectingThread, Generic[Client]):
    """
    Runs coroutines with a client that it keeps connected.

    `on_connect` is awaited with each new client before other coroutines run. `on_gap` is called, in the thread, after
    each connection but the first.
    """

    connect_seconds: float
    """How long a call waits for a connection."""

    call_seconds: float
    """How long a call waits for its answer."""

    answers: ClassVar[tuple[type[Exception], ...]]
    """Errors that are an answer of the server; after any other the client is replaced."""

    def __init__(
        self,
        url: str,
        on_connect: Callable[[Client], Awaitable[None]],
        on_gap: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(f"progresskit-{url.partition(':')[0]}")
        self.url, self._on_connect, self._on_gap = url, on_connect, on_gap
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._ended: asyncio.Event | None = None
        self._subscriptions: set[AsyncioSubscription[Client]] = set()

    @abstractmethod
    def new_client(self) -> Client:
        """Return a client that is not connected; called in the loop."""

    @abstractmethod
    async def connect(self, client: Client) -> None:
        """Connect the client, which from then on calls `end` when the connection is lost."""

    @abstractmethod
    async def subscribe(self, client: Client, channel: str, receive: Callable[[bytes], None]) -> Unsubscribe:
        """Have `receive` called with each message of a channel; return the function that unsubscribes."""

    @abstractmethod
    def is_lasting(self, error: Exception) -> bool:
        """Return True for an error that the same call would meet again."""

    def translated(self, error: Exception) -> BackendError:
        """Return the kit's error for one of the library, or of the connection."""
        if isinstance(error, BackendError):
            return error
        kind = BackendError if self.is_lasting(error) else BackendUnavailable
        return kind(f"{self}: {describe(error, self.url)}")

    def __str__(self) -> str:
        return redact(self.url)

    def subscription(
        self,
        channel: Callable[[str], str],
        on_messages: Callable[[dict[str, bytes]], None],
        on_gap: Callable[[], None],
    ) -> Subscription:
        """Return a subscription to the channel of each job, which `close` of this connection closes."""
        made = AsyncioSubscription(self, channel, on_messages, on_gap, self._subscriptions.discard)
        self._subscriptions.add(made)
        return made

    def close(self) -> None:
        """End the thread, and those of the subscriptions."""
        for subscription in [*self._subscriptions]:
            subscription.close()
        super().close()

    def call(self, function: Callable[[Client], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return the result of the coroutine that `function` makes of the client; connects first where necessary."""
        with self.changed:
            failures = self.failures
            self.start()
            self.hurry()
            if not self.wait(lambda: self._client, failures, self.connect_seconds):
                raise self.translated(self.error or TimeoutError("not connected yet"))
        future = self.submit(function)
        if future is None:
            raise self.translated(ConnectionError("the connection was lost"))
        try:
            return future.result(self.call_seconds)
        except CancelledError:
            raise self.translated(ConnectionError("the connection was lost")) from None
        except self.answers as error:
            raise self.translated(error) from error
        except TimeoutError as error:
            future.cancel()
            self.end()  # the answer may arrive later
            raise self.translated(TimeoutError(f"no answer within {self.call_seconds:g} seconds")) from error
        except Exception as error:
            self.end()
            raise self.translated(error) from error

    def call_each(self, function: Callable[[Item], Coroutine[Any, Any, Answer]], items: Iterable[Item]) -> list[Answer]:
        """Return the results of the coroutines of the items, all of which run at once."""

        async def gather(client: Client) -> list[Answer]:
            return await asyncio.gather(*map(function, items))

        return self.call(gather)

    def submit(self, function: Callable[[Client], Coroutine[Any, Any, Answer]]) -> Future[Answer] | None:
        """Have the coroutine run that `function` makes of the client; None where there is no connection."""
        with self.changed:
            client, loop = self._client, self._loop
        if client is None or loop is None:
            return None
        coroutine = function(client)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # the loop was closed just now
            coroutine.close()
            return None

    def end(self) -> None:
        """End the present connection; may be called in any thread."""
        loop, ended = self._loop, self._ended
        if loop is not None and ended is not None and not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)

    def interrupt(self) -> None:
        """End the connection, so that `serve` returns."""
        super().interrupt()
        self.end()

    # The thread.

    def serve(self) -> None:
        """Connect, and run submitted coroutines until the connection ends."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_log)  # for errors of the library's own tasks when a connection is lost
        client = self.new_client()
        try:
            await self.connect(client)
            await self._on_connect(client)
            with self.changed:
                self._client = client
                gap = self.failures > 0
                self.connected()
            if gap:
                self._on_gap()
            if not self.closed:
                await self._ended.wait()
        except Exception as error:
            raise self.translated(error) from error
        finally:
            with self.changed:
                self._client = None
            with suppress(Exception):  # of a connection that is given up
                await asyncio.wait_for(client.close(), CLOSE_SECONDS)
        if not self.closed:
            raise self.translated(ConnectionError("the connection was lost"))


def _log(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    getLogger("progresskit").debug("In a connection's loop: %s", context.get("exception") or context.get("message"))


class AsyncioSubscription(Subscription, Generic[Client]):
    """
    Calls `on_messages` with the newest message of each job, by id, and `on_gap` when some may have been missed.

    `channel` returns the channel of a job. `on_close` is called with the subscription at its end.
    """

    def __init__(
        self,
        connection: AsyncioConnection[Client],
        channel: Callable[[str], str],
        on_messages: Callable[[dict[str, bytes]], None],
        on_gap: Callable[[], None],
        on_close: Callable[[AsyncioSubscription[Client]], None],
    ) -> None:
        self._connection = type(connection)(connection.url, self._subscribe_all, on_gap)
        self._channel, self._on_messages, self._on_close = channel, on_messages, on_close
        self._ids: frozenset[str] = frozenset()
        self._unsubscribes: dict[str, Unsubscribe] = {}
        self._messages: dict[str, bytes] = {}
        self._pid = os.getpid()

    def add(self, ids: Collection[str]) -> None:
        """Subscribe to these as well; returns when the server has confirmed it, raises BackendError otherwise."""
        with self._connection.changed:
            self._ids = self._ids.union(ids)
        self._connection.call(partial(self._subscribe, ids))

    def remove(self, ids: Collection[str]) -> None:
        """Unsubscribe from these."""
        with self._connection.changed:
            self._ids = self._ids.difference(ids)
        self._connection.submit(lambda client: self._unsubscribe(ids))

    async def _subscribe_all(self, client: Client) -> None:
        self._unsubscribes = {}
        await self._subscribe(self._ids, client)

    async def _subscribe(self, ids: Collection[str], client: Client) -> None:
        for id in self._ids.intersection(ids) - self._unsubscribes.keys():
            receive = partial(self._receive, id)
            self._unsubscribes[id] = await self._connection.subscribe(client, self._channel(id), receive)
        await client.flush()

    async def _unsubscribe(self, ids: Collection[str]) -> None:
        for id in self._unsubscribes.keys() & frozenset(ids) - self._ids:
            await self._unsubscribes.pop(id)()

    def _receive(self, id: str, message: bytes) -> None:
        if not self._messages:
            asyncio.get_running_loop().call_soon(self._pass_on)
        self._messages[id] = message

    def _pass_on(self) -> None:
        messages, self._messages = self._messages, {}
        wanted = {id: message for id, message in messages.items() if id in self._ids}
        if wanted and not self._connection.closed:
            try:
                self._on_messages(wanted)
            except Exception:
                getLogger("progresskit").exception("Unexpected error in a subscriber's callback; it continues")

    def close(self) -> None:
        """End the connection, unless it is that of the parent process."""
        if self._pid == os.getpid():
            self._connection.close()
            self._on_close(self)
