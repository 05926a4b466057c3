"""The settings of a kit, and the resources that it opens for them: backend, publisher, hub, threads."""

from __future__ import annotations

import os
from threading import RLock
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from . import forks, scope, unseen
from .config import resolve
from .hub import Hub
from .observer_list import AttachedObserver
from .publisher import Publisher
from .registry import backend_class, load_observer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from typing import TypeVar

    from .abc import Backend
    from .config import Settings
    from .executor import BlockingExecutor
    from .progress import Progress, State

    Argument = TypeVar("Argument")
    Result = TypeVar("Result")

_all: WeakSet[Resources] = WeakSet()


class _Clocks(NamedTuple):
    """Seconds that never go back, and seconds since the epoch."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


class Resources:
    """
    Each resource is opened on first use, and all are closed together, after which the next use opens them again.

    The arguments are those of `Kit`; `control_exceptions` are passed to the publisher.
    """

    def __init__(
        self,
        clock: Callable[[], float] | None,
        threaded: bool,
        control_exceptions: dict[type[BaseException], State],
    ) -> None:
        self._guard = RLock()
        self._clocks = _Clocks(clock or monotonic, clock or time)
        self._threaded = threaded
        self._control_exceptions = control_exceptions
        self._host: Mapping[str, Any] = {}
        self._explicit: Mapping[str, Any] = {}
        self._given: Backend | None = None
        self._settings: Settings | None = None
        self._backend: Backend | None = None
        self._observers: tuple[AttachedObserver, ...] | None = None
        self._publisher: Publisher | None = None
        self._hub: Hub | None = None
        self._executor: BlockingExecutor | None = None
        self._exit_warning = unseen.ExitWarning()
        _all.add(self)

    @property
    def _lock(self) -> RLock:
        """The lock of the open resources; a fork is noticed before it is taken."""
        forks.notice()
        return self._guard

    def configure(self, explicit: Mapping[str, Any], given: Backend | None) -> None:
        """Replace the explicit settings; see `Kit.configure`. A `given` backend is used, and not closed."""
        resolved = resolve(explicit, self._host)
        made = given or backend_class(resolved.url).from_url(resolved.url, resolved)
        with self._lock:
            close = self._detach()
            self._explicit, self._given = explicit, given
            self._settings, self._backend = resolved, made
        close()

    def host_settings(self, settings: Mapping[str, Any], check: bool) -> None:
        """Replace the settings of the web framework; see `Kit.host_settings`."""
        if check:
            self._check(settings, site_loaded=False)
        if settings != self._host:
            with self._lock:
                close = self._detach()
                self._host = dict(settings)
            close()

    def check(self, site_loaded: bool) -> Settings:
        """Return the settings, or raise ConfigurationError; see `Kit.check`."""
        return self._check(self._host, site_loaded)

    def _check(self, host: Mapping[str, Any], site_loaded: bool) -> Settings:
        settings = resolve(self._explicit, host)
        made = backend_class(settings.url)
        if self._given is None and (site_loaded or not made.imports_site_code):
            made.from_url(settings.url, settings)
        return settings

    @property
    def settings(self) -> Settings:
        """The settings that hold."""
        if (known := self._settings) is not None:
            return known
        with self._lock:
            if self._settings is None:
                self._settings = resolve(self._explicit, self._host)
            return self._settings

    @property
    def backend(self) -> Backend:
        """The backend, made when it is first asked for."""
        forks.notice()
        if (known := self._backend) is not None:
            return known
        with self._lock:
            if self._backend is None:
                url = self.settings.url
                self._backend = self._given or backend_class(url).from_url(url, self.settings)
            return self._backend

    @property
    def publisher(self) -> Publisher:
        """The publisher, made when it is first asked for."""
        forks.notice()
        if (known := self._publisher) is not None:
            return known
        with self._lock:
            if self._publisher is None:
                if self._threaded:
                    self._exit_warning.reporting(self.settings.url, self.backend.shared, self._has_chosen_url())
                self._publisher = Publisher(
                    self.backend,
                    self.settings,
                    self._clocks.monotonic,
                    self._clocks.wall,
                    self._control_exceptions,
                    threaded=self._threaded,
                    observers=self.observers,
                )
            return self._publisher

    @property
    def observers(self) -> tuple[AttachedObserver, ...]:
        """The observers of all jobs, made when they are first asked for."""
        with self._lock:
            if self._observers is None:
                self._observers = tuple(AttachedObserver(load_observer(given)) for given in self.settings.observers)
                if self._observers:
                    unseen.note_viewer()
            return self._observers

    def _has_chosen_url(self) -> bool:
        named = "url" in self._explicit or any(name.lower() == "url" for name in self._host)
        return named or self._given is not None or bool(os.environ.get("PROGRESSKIT_URL"))

    @property
    def open_publisher(self) -> Publisher | None:
        """The publisher if there is one yet."""
        return self._publisher

    @property
    def hub(self) -> Hub:
        """The hub, made when it is first asked for."""
        forks.notice()
        if (known := self._hub) is not None:
            return known
        with self._lock:
            if self._hub is None:
                self._hub = Hub(self.backend, self.settings, self._clocks.monotonic, threaded=self._threaded)
            return self._hub

    def forget(self, id: str) -> None:
        """Have publisher and hub forget a job whose record was removed."""
        if self._publisher is not None:
            self._publisher.forget(id)
        if self._hub is not None:
            self._hub.reread((id,))

    def read_in_thread(self, ids: Collection[str]) -> Awaitable[dict[str, Progress]]:
        """Read records in a thread for a coroutine; reads that wait at the same time are joined."""
        with self._lock:
            return self._open_executor().read(ids)

    def call_in_thread(self, call: Callable[[Argument], Result], argument: Argument) -> Awaitable[Result]:
        """Make a call in a thread for a coroutine."""
        with self._lock:
            return self._open_executor().call(call, argument)

    def _open_executor(self) -> BlockingExecutor:
        """Return the executor, which no other thread closes while the lock is held."""
        if self._executor is None:
            from .executor import BlockingExecutor

            self._executor = BlockingExecutor(self.backend.read)
        return self._executor

    def close(self) -> None:
        """Store pending reports, for `flush_seconds` at most, and close all resources."""
        with self._lock:
            close = self._detach()
        close()

    def _detach(self) -> Callable[[], None]:
        """Detach the open resources; return a function that closes them, which takes time and needs no lock."""
        publisher, hub, executor = self._publisher, self._hub, self._executor
        backend = None if self._backend is self._given else self._backend
        self._settings = self._backend = self._publisher = self._hub = self._executor = self._observers = None

        def close() -> None:
            if publisher is not None:
                publisher.close()
            if hub is not None:
                hub.close()
            if executor is not None:
                executor.close()
            if backend is not None:
                backend.close()

        return close

    def after_fork_in_child(self) -> None:
        """Start again in a forked child; open resources belong to the parent and stay untouched."""
        self._guard = RLock()
        self._executor = None
        if self._publisher is not None:
            self._publisher.after_fork_in_child()
        if self._hub is not None:
            self._hub.after_fork_in_child()
        if self._backend is not None:
            self._backend.after_fork_in_child()


def _forked_child() -> None:
    scope.clear()
    for resources in _all:
        resources.after_fork_in_child()


forks.after_in_child(_forked_child)
