"""The end of a process that multiprocessing has started, which may end without running `atexit`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def is_child() -> bool:
    """Return whether multiprocessing has started this process."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.parent_process() is not None


def at_exit_of_child(action: Callable[[], object], priority: int) -> None:
    """Have an action called when this process ends, if it is such a process; one of higher priority is called first."""
    if is_child():
        from multiprocessing.util import Finalize

        Finalize(None, action, exitpriority=priority)
