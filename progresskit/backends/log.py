"""
The base of backends for brokers that pass messages on and answer no questions.

Every process keeps the records of all jobs itself, see `Replica`: it folds the messages of all processes, its own
included, so a call returns what its message changed once that has come back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from progresskit.abc import Backend, SupportsCancelPush, SupportsListing, SupportsPush

from .changes import Changes
from .forking import keep_inherited

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from threading import Condition

    from progresskit.abc import Subscription
    from progresskit.progress import Progress, State, Write
    from progresskit.record_store import RecordStore
    from progresskit.subscriptions import SubscriptionList

    from .replica import Outcome

CALL_SECONDS = 5.0
"""How long a call may take."""


class LogNode(ABC):
    """
    The connection of one process to the broker, and the replica that it fills.

    `changed` guards the replica and the subscriptions, and is notified of each change. Deadlines are times of the
    monotonic clock, by which a method raises BackendUnavailable if it has not succeeded.
    """

    changed: Condition
    subscriptions: SubscriptionList

    @abstractmethod
    def now(self) -> float:
        """Return the time by which leases and ttls are judged, in seconds."""

    @abstractmethod
    def ready(self, deadline: float, viewing: bool = False) -> RecordStore:
        """
        Connect, and return the entries once they hold all that other processes knew then.

        Until it is called with `viewing`, a node may leave out updates that decide nothing.
        """

    @abstractmethod
    def catch_up(self, deadline: float) -> RecordStore:
        """Return the entries once they hold all that was sent before this call."""

    @abstractmethod
    def write(self, batch: Sequence[Write], deadline: float) -> dict[str, int]:
        """Send records; return the runs that are stored once the broker has passed them on."""

    @abstractmethod
    def send(self, changes: Changes, deadline: float) -> Outcome:
        """Send cancel requests and removals; return the outcome once they have come back."""

    def requests(self, deadline: float) -> RecordStore:
        """Return the entries once they hold the cancel requests sent before this call."""
        return self.catch_up(deadline)

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


Node = TypeVar("Node", bound=LogNode)
Answer = TypeVar("Answer")


class LogBackend(Backend, SupportsPush, SupportsCancelPush, SupportsListing, Generic[Node]):
    """Answers from the replica of a node; a subclass makes the node, which is used until `close` or a fork."""

    def __init__(self) -> None:
        self.node = self.make_node()

    @abstractmethod
    def make_node(self) -> Node:
        """Return a node that is not connected."""

    def call(self, act: Callable[[Node, float], Answer]) -> Answer:
        """Call a function with the node and a deadline."""
        return act(self.node, monotonic() + CALL_SECONDS)

    def _read(
        self, select: Callable[[RecordStore, float], Answer], enter: Callable[[Node, float], RecordStore] | None = None
    ) -> Answer:
        def read(node: Node, deadline: float) -> Answer:
            entries = enter(node, deadline) if enter is not None else node.catch_up(deadline)
            with node.changed:
                return select(entries, node.now())

        return self.call(read)

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Send the records to all processes; return the runs that this one has stored."""
        return self.call(lambda node, deadline: node.write(batch, deadline)) if batch else {}

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the known records, including all that was sent before this call."""
        return self._read(lambda entries, now: entries.read(ids, now)) if ids else {}

    def list(
        self, *, kind: str | None, states: Collection[State] | None, limit: int, part_of: str | None = None
    ) -> list[Progress]:
        """Return the jobs that this process knows, those written last first."""
        return self._read(lambda entries, now: entries.list(kind, states, limit, now, part_of))

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Send the requests to all processes; return the jobs that are known here and not done."""
        changes = Changes(cancels=[*dict.fromkeys(ids)])
        return {*self.call(lambda node, deadline: node.send(changes, deadline)).cancelled} if ids else set()

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return the jobs that are requested to stop."""
        if not ids:
            return set()
        return self._read(lambda entries, now: entries.cancel_requested(ids, now), lambda node, end: node.requests(end))

    def forget(self, ids: Collection[str]) -> set[str]:
        """Have all processes forget the jobs that are done or stalled here."""
        tombstones = self._read(lambda entries, now: entries.forgettable(dict.fromkeys(ids), now)) if ids else []
        if not tombstones:
            return set()
        changes = Changes(forgets=tombstones)
        return {*self.call(lambda node, deadline: node.send(changes, deadline)).forgotten}

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Call `on_update` with each record as it is folded here."""
        return self.node.subscriptions.subscribe(
            on_update, on_gap, lambda: self.call(lambda node, end: node.ready(end, True))
        )

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Call `on_cancel` with each request as it is received here."""
        return self.node.subscriptions.subscribe_cancels(
            on_cancel, on_gap, lambda: self.call(lambda node, end: node.ready(end))
        )

    def close(self) -> None:
        """Close the connection and forget the records; a later call connects again."""
        self.node.close()
        self.node = self.make_node()

    def after_fork_in_child(self) -> None:
        """Begin with a connection and records of its own."""
        keep_inherited(self.node)
        self.node = self.make_node()
