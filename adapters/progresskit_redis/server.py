"""One server, or the one that Sentinels name: runs scripts in pipelines, and makes connections to listen on."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first thread that connects imports it, maybe while another one forks
from abc import ABC, abstractmethod
from threading import Lock
from typing import TYPE_CHECKING, Any

from progresskit.backends import keep_inherited
from progresskit.backends.channels import new_connection
from progresskit.backends.prompt import PromptConnections
from progresskit.backends.replies import ErrorReply
from progresskit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from progresskit.backends.prompt import PromptConnection

    from .failures import Failures
    from .scripts import Call, RepeatedCall


class Server(ABC):
    """
    Runs the scripts.

    A client that is not our own is used as it is, and never closed. `connects` counts the connections of one that is:
    behind a new one may be another process, which lacks the records of the one before.
    """

    publish: str
    """The command that publishes to subscribers."""

    clustered: bool

    def __init__(self, make: Callable[[Callable[[Any], None]], Any] | None, given: Any, failures: Failures) -> None:
        self.failures = failures
        self.connects = 0
        self._make = make
        self._client = given
        self._making = Lock()

    @property
    def own(self) -> bool:
        """True where the client was made here."""
        return self._make is not None

    def _connected(self, connection: Any) -> None:
        """Get a new connection ready, and find out whether it is welcome: a long command would just be cut off."""
        self._ready(connection)
        connection.send_command("PING", check_health=False)
        connection.read_response()

    def _ready(self, connection: Any) -> None:
        self.connects += 1
        if not self.clustered:  # there it has been done
            connection.on_connect()

    def client(self) -> Any:
        """Return the client; one server's connects when it is used, a cluster's to learn which node has which slots."""
        with self._making:
            if self._client is None:
                assert self._make is not None
                self._client = self._make(self._connected)
            return self._client

    @abstractmethod
    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Make all calls, in one round trip to each server; raise the first error after all were tried."""

    @property
    def connects_within(self) -> bool:
        """True where `run_within` can also make the connection in the given time."""
        return False

    def run_within(self, seconds: float | None, calls: Sequence[Call | RepeatedCall]) -> Sequence[Any] | None:
        """
        Make calls, and wait for the answers for that long at most; return None, without a call, where that cannot be.

        For None it waits for as long as any other call, and does not connect before: a later one may make the calls.
        Raises BackendUnavailable without an answer, whether the server has received the calls or not.
        """
        return None

    @abstractmethod
    def place(self, channel: bytes) -> Hashable:
        """Return which server a channel is on."""

    @abstractmethod
    def connection(self, place: Hashable) -> Any:
        """Return a new connection to that server, not connected yet, which is not in a pool."""

    @abstractmethod
    def refresh(self) -> None:
        """Find out again which server is which."""

    def translated(self, error: Exception) -> BackendError:
        """Return the kit's error for one of the client library."""
        return self.failures.translated(error)

    @abstractmethod
    def close(self) -> None:
        """Close the connections of a client of our own."""

    def after_fork_in_child(self) -> None:
        """Forget inherited connections, and never close them; the thread that held the lock may not exist here."""
        self._making = Lock()
        if self.own and self._client is not None and self.connects:
            keep_inherited(self._client)
            self._client = None


class Single(Server):
    """One server."""

    publish = "PUBLISH"
    clustered = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._prompt = PromptConnections(self._prompt_connection)
        self._errors: tuple[type[Exception], ...] = (ErrorReply, *self.failures.all)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Make all calls in one pipeline."""
        try:
            results = pipelined(self.client(), calls, self.failures)
        except self.failures.all as error:
            raise self.failures.translated(error) from error
        return checked(results, self.failures)

    @property
    def connects_within(self) -> bool:
        """True for a client of our own, unless Sentinels have to be asked before."""
        return self.own and not hasattr(self.client().connection_pool, "sentinel_manager")

    def run_within(self, seconds: float | None, calls: Sequence[Call | RepeatedCall]) -> Sequence[Any] | None:
        """Make them on a connection that is kept for that; not by a given client."""
        if not self.own:
            return None
        try:
            with self._prompt.kept() if seconds is None else self._prompt.within(seconds) as connection:
                return None if connection is None else _executed_within(connection, calls)
        except self._errors as error:
            raise self.failures.translated(error) from error

    def _prompt_connection(self) -> Any:
        connection = self.connection(None)
        for name in ("driver_info", "lib_name", "lib_version"):  # by release: each takes a round trip
            setattr(connection, name, None)
        connection.redis_connect_func = self._ready  # the first call finds out the same as `_connected`
        return connection

    def place(self, channel: bytes) -> Hashable:
        """Return the one place there is."""
        return None

    def connection(self, place: Hashable) -> Any:
        """Make one with the options that the client gives its own."""
        return new_connection(self.client())

    def refresh(self) -> None:
        """Skip: Sentinels are asked at each connecting."""

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._prompt.close()
        if self.own and self._client is not None:
            self._client.connection_pool.disconnect()
            manager = getattr(self._client.connection_pool, "sentinel_manager", None)
            for sentinel in manager.sentinels if manager else ():
                sentinel.connection_pool.disconnect()

    def after_fork_in_child(self) -> None:
        """Forget those of `run_within` too."""
        super().after_fork_in_child()
        self._prompt.after_fork_in_child()


def _executed_within(connection: PromptConnection, calls: Sequence[Call | RepeatedCall]) -> Sequence[Any]:
    """Make calls, and again if a script is unknown; all of them, which changes no stored record."""
    try:
        return connection.exchange(b"".join([call.packed() for call in calls]), len(calls))
    except ErrorReply as error:
        if not error.is_unknown_script:
            raise
    return connection.execute(*[call.by_text() for call in calls])


def pipelined(client: Any, calls: Sequence[Call], failures: Failures) -> list[Any]:
    """Make calls in one pipeline, and again those with an unknown script; errors are among the results."""
    results = executed(client, [call.by_hash() for call in calls])
    unknown = [number for number, result in enumerate(results) if isinstance(result, failures.no_script)]
    if unknown:
        again = executed(client, [calls[number].by_text() for number in unknown])
        for number, result in zip(unknown, again, strict=True):
            results[number] = result
    return results


def executed(client: Any, commands: Sequence[Sequence[object]]) -> list[Any]:
    """Send commands in one pipeline."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        # Bytes come back, also where the client decodes answers for others.
        pipeline.execute_command(*command, NEVER_DECODE=True)
    results: list[Any] = pipeline.execute(raise_on_error=False)
    return results


def checked(results: list[Any], failures: Failures) -> list[Any]:
    """Return the results; raise the first that is an error, those that may pass first."""
    errors = [failures.translated(result) for result in results if isinstance(result, Exception)]
    for error in sorted(errors, key=lambda error: type(error) is BackendError):
        raise error
    return results
