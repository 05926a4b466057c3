"""
Starts threads that run until the process ends, in every interpreter that allows one.

Such a thread is a daemon. An isolated subinterpreter allows no daemons, and waits for its threads when it ends: there
the thread is an ordinary one, and is asked to end before that. Before Python 3.12 it allows no threads at all, and no
interpreter allows a new one while it ends.
"""

from __future__ import annotations

import sys
import threading
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def start(target: Callable[..., object], name: str, stop: Callable[[], object], args: tuple[Any, ...] = ()) -> Thread:
    """
    Start a thread and return it.

    `stop` asks it to end, and is called only where the interpreter would wait for it. Raises RuntimeError where no
    thread can be started, as `threading.Thread` does.
    """
    if sys.is_finalizing():
        raise RuntimeError("no thread can be started while the interpreter ends")  # Python 3.11 would wait forever
    try:
        thread = Thread(target=target, args=args, name=name, daemon=True)
    except RuntimeError:
        thread = Thread(target=target, args=args, name=name, daemon=False)
        _stop_in_time(stop)
    thread.start()
    return thread


_stops: list[Callable[[], object]] = []


def _stop_in_time(stop: Callable[[], object]) -> None:
    if not _stops:  # as concurrent.futures does it; the callbacks of atexit come too late
        threading._register_atexit(_stop_all)  # type: ignore[attr-defined]
    _stops.append(stop)


def _stop_all() -> None:
    """End the threads in the order in which they were started: the publisher before what it writes by."""
    for stop in _stops:
        try:
            stop()
        except Exception:
            from logging import getLogger

            getLogger("progresskit").exception("A background thread could not be ended")
