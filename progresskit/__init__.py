"""
Progress of any background job, from any worker, over any broker or store, to any page.

    for row in progresskit.track(rows, id="import-42"):
        handle(row)

    for progress in progresskit.watch("import-42"):
        print(progress.percent)
"""

from __future__ import annotations

import os
from _thread import RLock

__version__ = "0.1.0"

TYPE_CHECKING = False  # as `typing` has it, whose import takes half as long as all else here

if TYPE_CHECKING:
    from typing import Any

    from .abc import (
        Backend,
        Observer,
        Subject,
        Subscription,
        SupportsCancelPush,
        SupportsListing,
        SupportsParts,
        SupportsPush,
    )
    from .capturing import capture
    from .default_kit import default
    from .errors import (
        BackendError,
        BackendUnavailable,
        Cancelled,
        ConfigurationError,
        FlushTimeout,
        InvalidId,
        InvalidValue,
        MissingPackage,
        ProgressKitError,
        PublicError,
        UnknownScheme,
        Unsupported,
    )
    from .kit import Kit
    from .observer import ProgressObserver, StepObserver
    from .progress import Failure, Progress, State, Version
    from .steps import Step, StepState

    _kit = default()

    acancel = _kit.acancel
    aend = _kit.aend
    aforget = _kit.aforget
    aget = _kit.aget
    aget_many = _kit.aget_many
    agroup = _kit.agroup
    awatch = _kit.awatch
    cancel = _kit.cancel
    configure = _kit.configure
    current = _kit.current
    end = _kit.end
    flush = _kit.flush
    forget = _kit.forget
    get = _kit.get
    get_many = _kit.get_many
    group = _kit.group
    list = _kit.list
    observe = _kit.observe
    part = _kit.part
    step = _kit.step
    subject = _kit.subject
    track = _kit.track
    watch = _kit.watch

__all__ = [  # but `list`, which is Python's own wherever all names are imported
    "Backend",
    "BackendError",
    "BackendUnavailable",
    "Cancelled",
    "ConfigurationError",
    "Failure",
    "FlushTimeout",
    "InvalidId",
    "InvalidValue",
    "Kit",
    "MissingPackage",
    "Observer",
    "Progress",
    "ProgressKitError",
    "ProgressObserver",
    "PublicError",
    "State",
    "Step",
    "StepObserver",
    "StepState",
    "Subject",
    "Subscription",
    "SupportsCancelPush",
    "SupportsListing",
    "SupportsParts",
    "SupportsPush",
    "UnknownScheme",
    "Unsupported",
    "Version",
    "acancel",
    "aend",
    "aforget",
    "aget",
    "aget_many",
    "agroup",
    "awatch",
    "cancel",
    "capture",
    "configure",
    "current",
    "end",
    "flush",
    "forget",
    "get",
    "get_many",
    "group",
    "observe",
    "part",
    "step",
    "subject",
    "track",
    "watch",
]

_MODULES = {
    "Backend": "abc",
    "Observer": "abc",
    "Subject": "abc",
    "Subscription": "abc",
    "SupportsCancelPush": "abc",
    "SupportsListing": "abc",
    "SupportsParts": "abc",
    "SupportsPush": "abc",
    "capture": "capturing",
    "BackendError": "errors",
    "BackendUnavailable": "errors",
    "Cancelled": "errors",
    "ConfigurationError": "errors",
    "FlushTimeout": "errors",
    "InvalidId": "errors",
    "InvalidValue": "errors",
    "MissingPackage": "errors",
    "ProgressKitError": "errors",
    "PublicError": "errors",
    "UnknownScheme": "errors",
    "Unsupported": "errors",
    "Kit": "kit",
    "ProgressObserver": "observer",
    "StepObserver": "observer",
    "Failure": "progress",
    "Progress": "progress",
    "State": "progress",
    "Version": "progress",
    "Step": "steps",
    "StepState": "steps",
}
"""Where the public names are defined, other than the methods of the default kit."""

_importing = RLock()
if hasattr(os, "register_at_fork"):  # a child of a process in which a thread imports would wait for that thread
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
    )


def __getattr__(name: str) -> Any:
    """
    Import a public name when it is first used.

    A process that imports the package and reports no progress, such as a command or a page without jobs, does not pay
    for the kit.
    """
    if name not in _MODULES and name not in __all__ and name != "list":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _importing:
        from importlib import import_module

        from .default_kit import default

        home = import_module(f"progresskit.{_MODULES[name]}") if name in _MODULES else default()
        found = globals()[name] = getattr(home, name)
    return found


def __dir__() -> Any:
    return [*globals(), *__all__]
