"""
Starts threads that run until the process ends, in every interpreter that allows one.

Such a thread is a daemon. An isolated subinterpreter allows no daemons, and waits for its threads when it ends: there
the thread is an ordinary one, and is asked to end before that. Before Python 3.12 it allows no threads at all, and no
interpreter allows a new one while it ends.

In the process that uWSGI forks its workers from, none is started either: a worker that is forked while a thread has the
interpreter's lock waits for that lock forever, for uWSGI runs no hooks of Python's that would release it.
"""

from __future__ import annotations

import os
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
    _check_can_start()
    try:
        thread = Thread(target=target, args=args, name=name, daemon=True)
    except RuntimeError:
        thread = Thread(target=target, args=args, name=name, daemon=False)
        _stop_in_time(stop)
    thread.start()
    return thread


def _check_can_start() -> None:
    if sys.is_finalizing():
        raise RuntimeError("no thread can be started while the interpreter ends")  # Python 3.11 would wait forever
    if _is_uwsgi_master():
        raise RuntimeError(
            "no thread can be started in the process that uWSGI forks its workers from; with `lazy-apps = true` the "
            "application is imported in each worker instead"
        )


def _is_uwsgi_master() -> bool:
    """Return whether workers will be forked from this process; workers, mules and the spooler are others."""
    uwsgi = sys.modules.get("uwsgi")
    try:
        if uwsgi is None:
            return False
        master: int = uwsgi.masterpid()
        return master == os.getpid() if master else uwsgi.numproc > 1 and not uwsgi.worker_id()
    except (AttributeError, TypeError, ValueError):
        return False  # not the module that uWSGI itself brings


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
