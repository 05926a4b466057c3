"""
Notices that this process is a forked child, whichever way it was forked.

`os.fork` runs Python's hooks. A server that embeds Python may fork without them, as uWSGI does unless it is started
with `py-call-osafterfork`; then the first call that opens, reads or publishes anything notices the changed process id.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_actions: list[Callable[[], object]] = []
_first = _noticed = _beginning = os.getpid()
_noticing: dict[int, RLock] = {}  # by process, since a lock that was held at the fork stays locked in the child


def after_in_child(action: Callable[[], object]) -> None:
    """Have an action called once in each forked child, before anything else happens there; the last added one first."""
    _actions.insert(0, action)


def notice() -> None:
    """Call the actions if this process is a child in which they were not called yet; costs 50 ns otherwise."""
    pid = os.getpid()
    if pid != _noticed:
        with _noticing.setdefault(pid, RLock()):
            if pid != _beginning:  # else an action is what asks
                _begin(pid)


def is_child() -> bool:
    """Return whether this process was forked from one that had imported this module."""
    return _noticed != _first


def _begin(pid: int) -> None:
    global _noticed, _beginning  # noqa: PLW0603 - they are facts about the process
    _beginning = pid
    for action in _actions:
        try:
            action()
        except Exception:
            from logging import getLogger

            getLogger("progresskit").exception("A forked child could not let go of what is its parent's")
    _noticed = pid


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _begin(os.getpid()))
