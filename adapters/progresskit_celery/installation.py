"""What is known of each Celery app that progresskit is installed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.exceptions import Ignore, Reject, Retry

from progresskit.integrations import Integration
from progresskit.progress import State

from . import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from progresskit.kit import Kit

UPKEEP = frozenset(("celery.backend_cleanup", "celery.chord_unlock"))
"""Tasks that Celery sends on its own account; nobody waits for them."""

CONTROL_EXCEPTIONS: dict[type[BaseException], State] = {
    Retry: State.RETRYING,
    Ignore: State.CANCELLED,
    Reject: State.CANCELLED,
}


class Installation(Integration):
    """How the tasks of one app become jobs, and of which kit."""

    def __init__(
        self,
        app: Any,
        kit: Kit | None = None,
        *,
        cancellable: bool = True,
        ignore: Collection[str] | Callable[[str], bool] = (),
    ) -> None:
        super().__init__(kit, control_exceptions=CONTROL_EXCEPTIONS, remove=self._revoke, terminate=self._kill)
        self._app = app
        self._cancellable = cancellable
        self._ignore = ignore if callable(ignore) else frozenset((ignore,) if isinstance(ignore, str) else ignore)

    def ignores(self, name: str) -> bool:
        """Tell whether tasks of that name are no jobs."""
        ignored = self._ignore(name) if callable(self._ignore) else name in self._ignore
        return ignored or name in UPKEEP

    def cancellable(self, task: Any) -> bool:
        """Tell whether reporting may raise Cancelled in the task: the site lets it, and Celery would survive it."""
        return bool(getattr(task, "progress_cancellable", self._cancellable)) and seal.is_sealed(task)

    def _revoke(self, ids: list[str]) -> None:
        self._app.control.revoke(ids)

    def _kill(self, ids: list[str]) -> None:
        self._app.control.revoke(ids, terminate=True)


_installations: dict[Any, Installation] = {}


def install(
    app: Any,
    *,
    kit: Kit | None = None,
    cancellable: bool = True,
    ignore: Collection[str] | Callable[[str], bool] = (),
) -> None:
    """
    Make every task of the Celery app a job under its own id, whose `kind` is the task's name.

    `kit` is progresskit's default one unless it is given. With `cancellable=False`, or for a task with the attribute
    `progress_cancellable = False`, reporting never raises Cancelled. `ignore` names the tasks that are no jobs, or is a
    function that is given a name and tells. Call it once, where the app is made; a later call replaces the settings.

    A worker whose kit cannot work does not start: it raises ConfigurationError.
    """
    from .signals import Configured, connect

    app = getattr(app, "_get_current_object", lambda: app)()
    if app in _installations:
        _installations[app].withdraw()
    else:
        seal.seal_tasks(app)
        app.steps["worker"].add(Configured)
    _installations[app] = Installation(app, kit, cancellable=cancellable, ignore=ignore)
    connect()


def find(app: Any) -> Installation | None:
    """Return what is known of the app; None where progresskit is not installed in it."""
    return _installations.get(app)


def sending() -> Installation | None:
    """Return what is known of the app that sends a task now, which Celery's signals do not tell: the current one."""
    if len(_installations) == 1:
        return next(iter(_installations.values()))
    return find(current_app._get_current_object())


def installations() -> list[Installation]:
    """Return what is known of all apps."""
    return list(_installations.values())
