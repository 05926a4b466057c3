"""A subscription to some jobs, whichever servers their channels are on."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING

from progresskit.abc import Listener

from .subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from .server import Server


class RedisListener(Listener):
    """
    Listens to one channel a job, and to nothing else.

    `take` is called with the newest message of each channel, `lost` when some may have been missed.
    """

    def __init__(
        self,
        server: Server,
        channel: Callable[[str], bytes],
        take: Callable[[Collection[bytes]], None],
        lost: Callable[[], None],
        gone: Callable[[RedisListener], None],
    ) -> None:
        self._server, self._channel, self._take, self._lost, self._gone = server, channel, take, lost, gone
        self._lock = Lock()
        self._subscribers: dict[Hashable, Subscriber] = {}
        self._where: dict[bytes, Subscriber] = {}
        self._closed = False
        self._pid = os.getpid()

    def watch(self, ids: Collection[str]) -> None:
        """Return when the servers have confirmed that they tell of these."""
        known = {channel: self._where.get(channel) for channel in map(self._channel, ids)}
        places = {channel: at.place if at else self._server.place(channel) for channel, at in known.items()}
        awaited = []
        with self._lock:
            if self._closed:
                return
            for subscriber, channels in self._divided(places):
                awaited.append((subscriber, channels, subscriber.add(channels)))
        for subscriber, channels, failures in awaited:
            subscriber.wait(channels, failures)

    def _divided(self, places: dict[bytes, Hashable]) -> list[tuple[Subscriber, list[bytes]]]:
        """Return who listens to which channels; those that nobody listens to go to whoever listens at their place."""
        parts: dict[Subscriber, list[bytes]] = {}
        for channel, place in places.items():
            if place not in self._subscribers:
                self._subscribers[place] = Subscriber(self._server, place, self._take, self._lost, self._replace)
            subscriber = self._where.setdefault(channel, self._subscribers[place])
            parts.setdefault(subscriber, []).append(channel)
        return [*parts.items()]

    def unwatch(self, ids: Collection[str]) -> None:
        """Listen to these no longer."""
        parts: dict[Subscriber, list[bytes]] = {}
        with self._lock:
            for channel in map(self._channel, ids):
                subscriber = self._where.pop(channel, None)
                if subscriber is not None:
                    parts.setdefault(subscriber, []).append(channel)
            for subscriber, channels in parts.items():
                subscriber.remove(channels)

    def _replace(self, subscriber: Subscriber) -> None:
        """Listen elsewhere to the channels of a subscriber that failed, where the slots of a cluster have moved."""
        if not self._server.clustered:
            return
        self._server.refresh()
        places = {channel: self._server.place(channel) for channel in subscriber.channels}
        moved = {channel: place for channel, place in places.items() if place != subscriber.place}
        with self._lock:
            moved = {channel: place for channel, place in moved.items() if self._where.get(channel) is subscriber}
            for channel in moved:
                del self._where[channel]
            subscriber.remove(moved)
            if self._closed:
                return
            for other, channels in self._divided(moved):
                other.add(channels, owed=True)
            if not subscriber.channels:
                self._subscribers.pop(subscriber.place, None)
                subscriber.close()

    def close(self) -> None:
        """End all threads and connections."""
        if self._pid != os.getpid():
            return  # they are the parent's
        with self._lock:
            self._closed = True
            subscribers = [*self._subscribers.values()]
        for subscriber in subscribers:
            subscriber.close()
        self._gone(self)
