"""A cluster: each call goes to the server that has its slot, those of one server in one pipeline."""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from progresskit.backends.channels import new_connection
from progresskit.errors import BackendUnavailable

from .server import Server, checked, executed, pipelined

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from .scripts import Call

MOVING_SECONDS = 1.0
"""How long a call follows slots that are being moved, before it is tried again later."""

AGAIN_SECONDS = 0.02


class Cluster(Server):
    """Many servers, each with its part of the slots."""

    publish = "SPUBLISH"
    clustered = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stale = False
        self._errors: tuple[type[Exception], ...] = (BackendUnavailable, *self.failures.all)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Make all calls, and again those that another server has to be asked."""
        if self._stale:
            self.refresh()
        results: list[Any] = [None] * len(calls)
        left, deadline = [*range(len(calls))], monotonic() + MOVING_SECONDS
        while left:
            for place, numbers in self._divided(calls, left).items():
                answers = self._asked(place, [calls[number] for number in numbers])
                for number, answer in zip(numbers, answers, strict=True):
                    results[number] = answer
            left = [
                number for number in left if isinstance(results[number], (self.failures.ask, self.failures.try_again))
            ]
            if left and monotonic() >= deadline:
                break
            if left:
                self._follow(calls, results, left)
                left = [number for number in left if isinstance(results[number], Exception)]
        return checked(results, self.failures)

    def _divided(self, calls: Sequence[Call], numbers: Sequence[int]) -> dict[Hashable, list[int]]:
        parts: dict[Hashable, list[int]] = {}
        for number in numbers:
            parts.setdefault(self.place(calls[number].keys[0]), []).append(number)
        return parts

    def _asked(self, place: Hashable, calls: Sequence[Call]) -> list[Any]:
        try:
            return pipelined(self._node(place), calls, self.failures)
        except self._errors as error:
            self._stale = True  # the others are asked all the same
            return [error] * len(calls)

    def _follow(self, calls: Sequence[Call], results: list[Any], numbers: Sequence[int]) -> None:
        """Find out where slots have gone; send calls there once while a slot is being moved."""
        if any(isinstance(results[number], self.failures.moved) for number in numbers):
            self.refresh()
            return
        for number in numbers:
            if isinstance(results[number], self.failures.ask):
                results[number] = self._asked_in_passing(calls[number], results[number])
        sleep(AGAIN_SECONDS)

    def _asked_in_passing(self, call: Call, hint: Any) -> Any:
        """Ask where a slot is being moved to; until it is there, its own server has to be asked first."""
        try:
            client = self._node(f"{hint.host}:{hint.port}")
            return executed(client, [(b"ASKING",), call.by_text()])[1]
        except self._errors:
            return hint

    def place(self, channel: bytes) -> Hashable:
        """Return the name of the server that has the slot."""
        try:
            name: str = self.client().get_node_from_key(channel).name
        except self.failures.all as error:
            self._stale = True
            raise self.failures.translated(error) from error
        return name

    def _node(self, place: Hashable) -> Any:
        client = self.client()
        node = client.get_node(node_name=place)
        if node is None:
            raise BackendUnavailable(f"{self.failures.address}: {place} is no longer there")
        get = getattr(client, "get_redis_connection", None) or client.get_valkey_connection
        return get(node)

    def connection(self, place: Hashable) -> Any:
        """Make one with the options that the client gives those to that server."""
        return new_connection(self._node(place))

    def refresh(self) -> None:
        """Ask which server has which slots."""
        try:
            self.client().nodes_manager.initialize()
        except self.failures.all as error:
            raise self.failures.translated(error) from error
        self._stale = False

    def close(self) -> None:
        """Close the connections to all servers; a later call makes a new client."""
        client, own = self._client, self.own
        if own and client is not None:
            self._client = None
            client.close()
            for node in client.get_nodes():
                if node.redis_connection is not None:
                    node.redis_connection.connection_pool.disconnect()
