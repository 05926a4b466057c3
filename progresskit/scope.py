"""
Which job surrounds a piece of code: a stack of scopes in one context variable.

A block leaves its scope in the context it entered it in. A loop may not: it ends wherever its iterator is dropped, in
another thread perhaps, and of two interleaved loops the outer one may end first. So a scope that was left is marked,
and code that finds it in its context goes on to the one around it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .integrations import Run
    from .observer import ProgressObserver


class Scope:
    """The part of a program in which a job is the surrounding one; see `enter`."""

    __slots__ = ("_outer", "_token", "job", "run")

    def __init__(self, job: ProgressObserver, run: Run | None = None) -> None:
        self.job: ProgressObserver | None = job
        """The job; None once the scope was left."""
        self.run = run
        """The execution of a task that the job is, if it is one and the scope was not left."""
        self._outer = _in_this_context()
        self._token = _innermost.set(self)

    def leave(self) -> None:
        """Leave the scope, in every context; safe in a finalizer, in any thread."""
        self.job = self.run = None
        self.settle()

    def surrounds(self) -> bool:
        """Return whether this code runs in the scope."""
        scope = _innermost.get()
        while scope is not None and scope is not self:
            scope = scope._outer
        return scope is not None

    def living(self) -> Scope | None:
        """Return this scope, or the nearest one around it, that was not left; None where all were."""
        scope: Scope | None = self
        while scope is not None and scope.job is None:
            scope = scope._outer
        return scope

    def settle(self) -> None:
        """Remove the scope, which was left, from this context, if that is the one it was entered in and no copy."""
        if _innermost.get() is self:
            try:
                _innermost.reset(self._token)
            except (ValueError, RuntimeError):
                return
            _innermost.set(self.living())


_innermost: ContextVar[Scope | None] = ContextVar("progresskit_scope", default=None)


def enter(job: ProgressObserver, run: Run | None = None) -> Scope:
    """Make the job the surrounding one in this context, until the scope that is returned is left."""
    return Scope(job, run)


def current_job() -> ProgressObserver | None:
    """Return the surrounding job; None where there is none."""
    scope = _in_this_context()
    living = None if scope is None else scope.living()
    return None if living is None else living.job


def surrounding_jobs() -> Iterator[ProgressObserver]:
    """Give the jobs that surround this code, and their steps, the innermost first."""
    return (job for scope in _scopes() if (job := scope.job) is not None)


def current_runs() -> Iterator[Run]:
    """Give the executions of tasks that surround this code, the innermost first."""
    return (run for scope in _scopes() if (run := scope.run) is not None)


def is_orphaned() -> bool:
    """Return True in a copy of a job's context that outlives the job, as of a task that was not waited for."""
    scope = _in_this_context()
    return scope is not None and scope.living() is None


def clear() -> None:
    """Have no surrounding job in this context."""
    _innermost.set(None)


def _scopes() -> Iterator[Scope]:
    """Give the scopes around this code, the innermost first."""
    scope = _in_this_context()
    while scope is not None:
        yield scope
        scope = scope._outer


def _in_this_context() -> Scope | None:
    scope = _innermost.get()
    if scope is not None and scope.job is None:
        scope.settle()  # its loop ended in another thread
        scope = _innermost.get()
    return scope
