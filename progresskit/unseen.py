"""Warns of progress that goes where the processes that matter do not see it."""

from __future__ import annotations

import atexit
import os
import sys

from . import exits
from .config import is_relative
from .urls import redact


def why_unseen(url: str, shared: bool) -> str | None:
    """Return why other processes, or some of them, do not see reports to this URL; None where all do."""
    if not shared:
        return f"{redact(url)}, which is seen by this process only"
    if is_relative(url):
        return f"{redact(url)}, which is relative to each process's own folder"
    return None


def warn(where: str, problem: str) -> None:
    """Log a problem with its remedy."""
    from logging import getLogger

    getLogger("progresskit").warning(
        "%s uses %s: set PROGRESSKIT_URL, or call progresskit.configure(), in every process", where, problem
    )


class _Process:
    """The state of this process."""

    views = False


def note_viewer() -> None:
    """Note that this process reads jobs itself: its reports are not unseen."""
    _Process.views = True


class ExitWarning:
    """
    Warns at the end of a script with reports that no other process sees, and that it did not read itself.

    A script is a program in a file, run by hand or by cron; a notebook, a test and a console are not. An explicit
    `memory://` causes no warning.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._script: str | None = None
        self._registered = False

    def reporting(self, url: str, shared: bool, chosen: bool) -> None:
        """Note the URL of the jobs from now on, and whether it was chosen explicitly."""
        self.problem = None if chosen and not shared else why_unseen(url, shared)
        if self.problem is not None and shared:
            self.problem += f" (here it is {os.path.abspath(url.removeprefix('sqlite:///').partition('?')[0])})"
        self._script = script_name()  # the interpreter has forgotten it at the exit
        if self.problem is not None and not self._registered:
            self._registered = True
            atexit.register(self.at_exit)

    def at_exit(self) -> None:
        """Warn if there is reason to."""
        if self.problem is not None and self._script is not None and not _Process.views:
            warn(self._script, self.problem)


def script_name() -> str | None:
    """Return the name of the file that this program was started from; None in a test, a notebook, a console."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    is_looked_at = hasattr(sys, "ps1") or bool(sys.flags.interactive) or not sys.modules.keys().isdisjoint(_NO_SCRIPTS)
    return None if path is None or exits.is_child() or is_looked_at else os.path.basename(path)


_NO_SCRIPTS = ("pytest", "ipykernel", "IPython")
"""The modules of interactive programs, which run other code."""
