"""One server, the one that Sentinels name, or a cluster: runs the script, and makes connections to listen on."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first thread that connects imports it, maybe while another one forks
from hashlib import sha1
from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.backends import keep_inherited
from progresskit.errors import BackendError, BackendUnavailable

from .failures import is_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from .failures import Failures

SCRIPT = b"\n".join(
    files(__package__).joinpath("lua", f"{name}.lua").read_bytes() for name in ("job", "parts", "fold", "actions")
)
SHA = sha1(SCRIPT, usedforsecurity=False).hexdigest()

RESP3_OPTIONS = ("maint_notifications", "oss_cluster_maint", "maintenance_", "orig_")
"""How the options begin that a client of RESP 3 gives its connections, and that one of RESP 2 refuses."""


class Call(NamedTuple):
    """
    The keys, all of one slot, and the arguments of a run of the script.

    They are bytes where that matters, so that the encoding of a client that was given does not.
    """

    keys: Sequence[bytes]
    arguments: Sequence[bytes | str | int]

    def by_hash(self) -> tuple[bytes | str | int, ...]:
        """Return the command for a server that knows the script."""
        return ("EVALSHA", SHA, len(self.keys), *self.keys, *self.arguments)

    def by_text(self) -> tuple[bytes | str | int, ...]:
        """Return the command for one that does not; it does from then on."""
        return ("EVAL", SCRIPT, len(self.keys), *self.keys, *self.arguments)


class Server:
    """
    One server.

    `make` makes the client, and is given a function that readies each of its connections. A client that was given
    instead is used as it is, and never closed.
    """

    publish = "PUBLISH"
    """The command that publishes to subscribers."""

    clustered = False
    """True where each channel is on one of several servers."""

    def __init__(self, make: Callable[[Callable[[Any], None]], Any] | None, given: Any, failures: Failures) -> None:
        self.failures = failures
        self._make = make
        self._client = given
        self._making = Lock()

    def client(self) -> Any:
        """Return the client; one server's connects when it is used, a cluster's to learn which node has which slots."""
        with self._making:
            if self._client is None:
                assert self._make is not None
                self._client = self._make(self._ready)
            return self._client

    def _ready(self, connection: Any) -> None:
        """Get a new connection ready, and find out whether it is welcome: a long command would just be cut off."""
        connection.on_connect()
        _ping(connection)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Make all calls, in one round trip to each server; raise the first error after all were tried."""
        try:
            results = self._pipelined(self.client(), calls)
        except self.failures.all as error:
            raise self.translated(error) from error
        return self._checked(results)

    def _pipelined(self, client: Any, calls: Sequence[Call]) -> list[Any]:
        """Make calls in one pipeline, and again if the script is unknown; errors are among the results."""
        # A script of redis-py would ask before each pipeline whether the server knows it: another round trip.
        results = _executed(client, [call.by_hash() for call in calls])
        unknown = [number for number, result in enumerate(results) if is_kind(result, "NoScriptError")]
        again = _executed(client, [calls[number].by_text() for number in unknown]) if unknown else []
        for number, result in zip(unknown, again, strict=True):
            results[number] = result
        return results

    def _checked(self, results: list[Any]) -> list[Any]:
        """Return the results; raise the first that is an error, those that may pass first."""
        errors = [self.translated(result) for result in results if isinstance(result, Exception)]
        for error in sorted(errors, key=lambda error: type(error) is BackendError):
            raise error
        return results

    def place(self, channel: bytes) -> Hashable:
        """Return which server a channel is on; the same value for all channels of a server."""
        return None

    def connection(self, place: Hashable) -> Any:
        """Return a new connection to that server, with RESP 2 and not connected yet, which is not in a pool."""
        return self._connection_like(self.client().connection_pool)

    @staticmethod
    def _connection_like(pool: Any) -> Any:
        options = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith(RESP3_OPTIONS)}
        return pool.connection_class(**options | {"protocol": 2, "decode_responses": False})

    def refresh(self) -> None:
        """Find out again which server is which; Sentinels are asked at each connecting."""

    def translated(self, error: Exception) -> BackendError:
        """Return the kit's error for one of the client library."""
        return self.failures.translated(error)

    def close(self) -> None:
        """Close the connections of a client of our own; a later call opens new ones."""
        if self._make is not None and self._client is not None:
            self._disconnect(self._client)

    def _disconnect(self, client: Any) -> None:
        client.connection_pool.disconnect()
        manager = getattr(client.connection_pool, "sentinel_manager", None)
        for sentinel in manager.sentinels if manager else ():
            sentinel.connection_pool.disconnect()

    def after_fork_in_child(self) -> None:
        """Leave the connections of the parent alone, as the client does by itself; a thread may have held the lock."""
        self._making = Lock()


class Cluster(Server):
    """Many servers, each with its part of the slots: those of its calls go in one pipeline."""

    publish = "SPUBLISH"
    clustered = True
    _stale = False

    def _ready(self, connection: Any) -> None:
        _ping(connection)  # the client has done the rest

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Make all calls; those of slots that have moved, or are moving, go where redis-py finds them."""
        if self._stale:
            self.refresh()
        parts: dict[Hashable, list[int]] = {}
        for number, call in enumerate(calls):
            parts.setdefault(self.place(call.keys[0]), []).append(number)
        results: list[Any] = [None] * len(calls)
        for place, numbers in parts.items():
            for number, result in zip(numbers, self._asked(place, [calls[each] for each in numbers]), strict=True):
                results[number] = self._followed(calls[number], result)
        return self._checked(results)

    def _asked(self, place: Hashable, calls: Sequence[Call]) -> list[Any]:
        try:
            return self._pipelined(self._node(place), calls)
        except self.failures.all as error:
            self._stale = True  # the others are asked all the same
            return [error] * len(calls)

    def _followed(self, call: Call, result: Any) -> Any:
        if not is_kind(result, "AskError", "TryAgainError"):  # a MovedError is an AskError
            return result
        try:
            return self.client().execute_command(*call.by_text(), NEVER_DECODE=True)
        except self.failures.all as error:
            self._stale = True
            return error

    def place(self, channel: bytes) -> Hashable:
        """Return the name of the server that has the slot."""
        try:
            return str(self.client().get_node_from_key(channel).name)
        except self.failures.all as error:
            self._stale = True
            raise self.translated(error) from error

    def _node(self, place: Hashable) -> Any:
        client = self.client()
        node = client.get_node(node_name=place)
        if node is None:
            raise BackendUnavailable(f"{self.failures.address}: {place} is no longer there")
        get = getattr(client, "get_redis_connection", None) or client.get_valkey_connection
        return get(node)

    def connection(self, place: Hashable) -> Any:
        """Make one with the options that the client gives those to that server."""
        return self._connection_like(self._node(place).connection_pool)

    def refresh(self) -> None:
        """Ask which server has which slots."""
        try:
            self.client().nodes_manager.initialize()
        except self.failures.all as error:
            raise self.translated(error) from error
        self._stale = False

    def _disconnect(self, client: Any) -> None:
        self._client = None
        client.close()
        for node in client.get_nodes():
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect()

    def after_fork_in_child(self) -> None:
        """Make another client, for a thread may have held a lock of the cluster's; one that was given stays."""
        super().after_fork_in_child()
        if self._make is not None and self._client is not None:
            keep_inherited(self._client)
            self._client = None


def _ping(connection: Any) -> None:
    connection.send_command("PING", check_health=False)
    connection.read_response()


def _executed(client: Any, commands: Sequence[Sequence[object]]) -> list[Any]:
    """Send commands in one pipeline."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        # Bytes come back, also where the client decodes answers for others.
        pipeline.execute_command(*command, NEVER_DECODE=True)
    results: list[Any] = pipeline.execute(raise_on_error=False)
    return results
