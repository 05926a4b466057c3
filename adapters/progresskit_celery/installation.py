"""How the tasks of the Celery apps become jobs in which progresskit is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.exceptions import Ignore, Reject, Retry

from progresskit.integrations import Integration, part_of
from progresskit.progress import State

from .canvas import REVOKE_STAMPED, after, replaces, stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from progresskit.kit import Kit

UPKEEP = frozenset(("celery.backend_cleanup", "celery.chord_unlock"))
"""Tasks that Celery sends for itself; no page waits for them."""

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
        capture: bool = False,
    ) -> None:
        super().__init__(
            kit,
            control_exceptions=CONTROL_EXCEPTIONS,
            remove=self._revoke,
            terminate=self._kill,
            remove_parts=self._revoke_parts,
            capture=capture,
        )
        self.app = app
        self._cancellable = cancellable
        self._ignore = ignore if callable(ignore) else frozenset((ignore,) if isinstance(ignore, str) else ignore)

    @property
    def is_eager(self) -> bool:
        """True where tasks are executed in the call that sends them."""
        return bool(self.app.conf.task_always_eager)

    def ignores(self, name: str) -> bool:
        """Return whether tasks of that name are no jobs."""
        ignored = self._ignore(name) if callable(self._ignore) else name in self._ignore
        return ignored or name in UPKEEP

    def cancellable(self, task: Any) -> bool:
        """Return whether reporting may raise Cancelled in the task: the site allows it, and Celery would survive it."""
        return bool(getattr(task, "progress_cancellable", self._cancellable)) and is_wrapped(task)

    def end_followers(self, request: Any, state: State, error: BaseException | None = None) -> None:
        """
        Report the end of the tasks that would have followed a task with this request, which has ended so.

        They end as it did. Parts of a job end as cancelled if the task is a part itself, or one of several in place of
        another part, which then ends as the task did: so the job counts a failure once.
        """
        replaced = replaces(request.headers)
        is_counted = replaced is not None or part_of(request.headers) is not None
        for id, name, part in after(request.chain, request.chord, request.callbacks):
            its_state = State.CANCELLED if is_counted and part is not None and id != replaced else state
            its_error = error if its_state is State.FAILED else None
            self.end_externally(id, its_state, kind=name, error=its_error, part=part)

    def _revoke(self, ids: list[str]) -> None:
        self.app.control.revoke(ids)

    def _kill(self, ids: list[str]) -> None:
        self.app.control.revoke(ids, terminate=True)

    def _revoke_parts(self, runs: list[str], terminate: bool) -> None:
        stamps = {name: value for run in runs for name, value in stamp_of(run).items()}
        self.app.control.broadcast(REVOKE_STAMPED, arguments={"stamps": stamps, "terminate": terminate})


WRAPPED = "wrapped_by_progresskit"
"""The attribute of a function that wrap_run.py has wrapped."""


def is_wrapped(task: Any) -> bool:
    """Return whether `Cancelled` stays inside the task; not so in one that ran before progresskit was installed."""
    return hasattr(getattr(task, "_orig_run", task.run), WRAPPED)


_installations: dict[Any, Installation] = {}


def add(installation: Installation) -> Installation | None:
    """Make it the one of its app; return the one that it replaces, if any."""
    before = _installations.get(installation.app)
    if before is not None:
        before.withdraw()
    _installations[installation.app] = installation
    return before


def find(app: Any) -> Installation | None:
    """Return the installation in the app; None where there is none."""
    return _installations.get(app)


def sending() -> Installation | None:
    """Return the installation in the app that sends a task: the current one, as Celery's signals do not name it."""
    if len(_installations) == 1:
        return next(iter(_installations.values()))
    return find(current_app._get_current_object())


def installations() -> list[Installation]:
    """Return the installations in all apps."""
    return list(_installations.values())
