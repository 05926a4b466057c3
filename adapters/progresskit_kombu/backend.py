"""The backend: what is written is said to all, and each process reads from its own mirror of what was said."""

from __future__ import annotations

from logging import getLogger
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from kombu.connection import Connection

from progresskit.abc import Backend, Subscription, SupportsCancelPush, SupportsListing, SupportsPush
from progresskit.backends import keep_inherited
from progresskit.errors import ConfigurationError

from .address import Address
from .mirror import Mirror
from .station import Station

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from progresskit.config import Settings
    from progresskit.progress import Progress, State, Write


class KombuBackend(Backend, SupportsPush, SupportsCancelPush, SupportsListing):
    """
    Carries records through a fanout exchange; there is no store but what the processes remember.

    `broker` is a URL such as `kombu+redis://localhost/0`, or a Connection of Kombu's, of which copies are made: it is
    neither used nor closed. `clock` (seconds) takes the place of this process's own, by which leases and ttls run from
    the moment it heard of a job.
    """

    def __init__(
        self, broker: Connection | str, *, prefix: str = "progresskit", clock: Callable[[], float] | None = None
    ) -> None:
        if not isinstance(broker, str | Connection):
            raise ConfigurationError(f"not a URL, nor a Connection of Kombu's: {type(broker).__name__}")
        self._address = Address(broker)
        self._prefix = prefix
        self.shared = self._address.shared
        self._mirror = Mirror(clock or monotonic)
        self._begin()

    def _begin(self) -> None:
        self._lock = Lock()
        self._listeners: set[_Listener] = set()
        self._station = Station(self._address, self._prefix, self._mirror, self._lost)

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> KombuBackend:
        """Make the backend of a URL: `kombu+`, and one of Kombu's."""
        return cls(url, prefix=settings.prefix)

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Say it to all, and return what came of it in this process's mirror."""
        return self._station.write(batch) if batch else {}

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known, after all that was said before is."""
        if not ids:
            return {}
        self._station.catch_up()
        return self._mirror.read(ids)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Ask all; return those that are known here and not done."""
        return self._station.request_cancel(ids) if ids else set()

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        if not ids:
            return set()
        self._station.catch_up()
        return self._mirror.cancel_requested(ids)

    def forget(self, ids: Collection[str]) -> set[str]:
        """Have all processes forget those that are done or stalled here."""
        if not ids:
            return set()
        self._station.catch_up()
        return self._station.forget(self._mirror.forgettable(ids))

    def list(self, *, kind: str | None, states: Collection[State] | None, limit: int) -> list[Progress]:
        """Return the jobs that are known here, those written last first."""
        self._station.catch_up()
        return self._mirror.list(kind=kind, states=states, limit=limit)

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Call `on_update` as soon as something is heard."""
        return self._listener(self._mirror.subscribe(on_update, on_gap), on_gap)

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Call `on_cancel` as soon as somebody asks."""
        return self._listener(self._mirror.subscribe_cancels(on_cancel, on_gap), on_gap)

    def _listener(self, inner: Subscription, lost: Callable[[], None]) -> Subscription:
        listener = _Listener(self._station, inner, lost, self._forget)
        with self._lock:
            self._listeners.add(listener)
        return listener

    def _forget(self, listener: _Listener) -> None:
        with self._lock:
            self._listeners.discard(listener)

    def _lost(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener.lost()
            except Exception:  # the connection is everybody's, and must not end by it
                getLogger("progresskit").exception("Whoever listens by way of Kombu failed; listening goes on")

    def close(self) -> None:
        """End the connections, and forget what was heard; a later call begins anew."""
        self._station.close()
        self._mirror.close()
        self._begin()

    def after_fork_in_child(self) -> None:
        """Begin anew with connections of one's own; the others will tell what they know."""
        inherited = self._station
        keep_inherited(inherited)
        self._mirror.after_fork_in_child()
        self._begin()
        self._station.inherit(inherited)


class _Listener(Subscription):
    """A listener of the mirror, which is of use only while this process takes part."""

    def __init__(
        self,
        station: Station,
        inner: Subscription,
        lost: Callable[[], None],
        forget: Callable[[_Listener], None],
    ) -> None:
        self._station, self._inner, self.lost, self._forget = station, inner, lost, forget

    def add(self, ids: Collection[str]) -> None:
        self._inner.add(ids)
        self._station.ready()

    def remove(self, ids: Collection[str]) -> None:
        self._inner.remove(ids)

    def close(self) -> None:
        self._inner.close()
        self._forget(self)
