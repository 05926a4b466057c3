"""The backend where PostgreSQL can be listened to."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from weakref import WeakSet

from progresskit.abc import SupportsCancelPush, SupportsPush
from progresskit.backends import keep_inherited
from progresskit_sql.backend import SQLBackend

from .listener import ChannelListener, PoolerState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any

    from progresskit.abc import Subscription
    from progresskit.progress import Progress

    from . import PostgreSQL


class PostgreSQLBackend(SQLBackend, SupportsPush, SupportsCancelPush):
    """
    Keeps the records in a table and pushes changes, by LISTEN and NOTIFY.

    A notification says which jobs have changed, and their records are then read, those that are watched and all of them
    together: notifications that arrive meanwhile are taken next. Each process that listens keeps one connection.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._listeners: WeakSet[ChannelListener] = WeakSet()
        self._pooler = PoolerState()

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Pass on the records of watched jobs that were written, renewed or asked to stop."""

        def changed(ids: Collection[str]) -> None:
            if records := self.read(ids):
                on_update(records.values())

        return self._listener(self._postgresql.channel, changed, on_gap)

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Pass on requests to cancel; a job that has begun again meanwhile has none."""

        def asked(ids: Collection[str]) -> None:
            if cancels := self.cancel_requested(ids):
                on_cancel(cancels)

        return self._listener(self._postgresql.cancels_channel, asked, on_gap)

    @property
    def _postgresql(self) -> PostgreSQL:
        return cast("PostgreSQL", self._dialect)

    def _listener(
        self, channel: str, act: Callable[[Collection[str]], None], lost: Callable[[], None]
    ) -> ChannelListener:
        listener = ChannelListener(self._connections, channel, act, lost, self._pooler)
        self._listeners.add(listener)
        return listener

    def close(self) -> None:
        """Stop listening, and close the connections."""
        for listener in list(self._listeners):
            listener.close()
        super().close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's; its listeners are not here."""
        for listener in list(self._listeners):
            listener.closed = True  # its thread and its connection are the parent's
            keep_inherited(listener)
        self._listeners, self._pooler = WeakSet(), PoolerState()
        super().after_fork_in_child()
