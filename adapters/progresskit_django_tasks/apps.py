"""The Django app, which connects receivers to the signals of the task framework."""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured

from progresskit.integrations import OWNER_HEADER, Integration, keep_in_queue

from .receivers import Receivers

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMEWORKS = ("django.tasks", "django_tasks")
"""The framework of Django 6, and the backport of it, which some backends use with Django 6 too."""


class ProgressKitTasksConfig(AppConfig):
    """Makes the tasks of all backends jobs of the default kit; a subclass in INSTALLED_APPS may set `capture`."""

    name = "progresskit_django_tasks"
    verbose_name = "progresskit: tasks"
    capture: ClassVar[bool] = False
    """True to count the bars that tasks draw with tqdm or rich, as in a block of `progresskit.capture()`."""

    def ready(self) -> None:
        """Connect to the signals; raises ImproperlyConfigured where there is no task framework."""
        receivers = Receivers(Integration(remove=keep_in_queue, capture=self.capture))
        found = [name for name in FRAMEWORKS if find_spec(name)]
        if not found:
            raise ImproperlyConfigured("progresskit_django_tasks needs Django 6, or the package django-tasks")
        for framework in found:
            _keep_owner_out(import_module(f"{framework}.base").Task)
            signals = import_module(f"{framework}.signals")
            for signal, receiver in (
                (signals.task_enqueued, receivers.enqueued),
                (signals.task_started, receivers.started),
                (signals.task_finished, receivers.finished),
            ):
                signal.connect(receiver, weak=False, dispatch_uid=f"progresskit {receiver.__name__}")


def _keep_owner_out(task_class: Any) -> None:
    """Keep the owner, which goes with the arguments of a task, out of those that its function gets."""
    for name in ("call", "acall"):  # all workers call the function by one of these
        call = getattr(task_class, name)
        if not hasattr(call, "__wrapped__"):
            setattr(task_class, name, _without_owner(call))


def _without_owner(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def wrapper(task: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop(OWNER_HEADER, None)
        return call(task, *args, **kwargs)

    return wrapper
