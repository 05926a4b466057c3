"""Installs progresskit in a Celery app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .installation import Installation, add
from .signals import Configured, connect
from .wrap_run import wrap_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from progresskit.kit import Kit


def install(
    app: Any,
    *,
    kit: Kit | None = None,
    cancellable: bool = True,
    ignore: Collection[str] | Callable[[str], bool] = (),
    capture: bool = False,
) -> None:
    """
    Make every task of the Celery app a job under its own id, with the task's name as its `kind`.

    `kit` is progresskit's default one unless it is given. With `cancellable=False`, or for a task with the attribute
    `progress_cancellable = False`, reporting never raises Cancelled. `ignore` names the tasks that are no jobs, or is a
    function of a name that returns True for them. With `capture`, bars that tasks draw with tqdm or rich count, as in a
    block of `progresskit.capture()`. Call it once, where the app is made; a later call replaces the
    settings.

    A worker does not start with a kit that cannot work: it raises ConfigurationError.
    """
    app = getattr(app, "_get_current_object", lambda: app)()
    installation = Installation(app, kit, cancellable=cancellable, ignore=ignore, capture=capture)
    if add(installation) is None:
        wrap_tasks(app)
        app.steps["worker"].add(Configured)
    connect()
