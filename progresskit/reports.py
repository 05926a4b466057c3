"""
The reports of a job, which its worker makes once per item, or a million times a second.

`advance` and `set_progress` are one store behind one comparison. The gate is shut whenever a call has to do something
else first, such as to stop the job, or to wake the publisher after a quiet time. Everything that takes longer is done
by the publisher, which samples the slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from . import validation
from .counting import CountSlots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .job import Job
    from .stages import Stage

AnyReports = TypeVar("AnyReports", bound="Reports")


class Reports(CountSlots):
    """
    The reports of a job, or of one of its steps: the count is that of the step, the texts are those of the job.

    Reporting does no I/O, never blocks, and never raises because of a backend or a bad value: a bad value is dropped
    and counted in `dropped`, unless the kit is strict.
    """

    __slots__ = ("_job", "_step")

    _job: Job
    _step: Stage | None
    """The step of the job; None for the job itself."""

    def _bind(self, job: Job, step: Stage | None = None) -> None:
        self._job, self._step = job, step

    @property
    def _stage(self) -> Stage:
        return self._step or self._job.stages.job

    def advance(self, n: float = 1) -> None:
        """Count `n` more items as done; a negative `n` lowers the count, not below 0."""
        if n is self._one:
            self._current += 1
        elif type(n) is int and 0 <= n <= self._gate - self._current:  # a sum might be too large for a float
            self._current += n
        else:
            self._advance(n)

    def set_progress(self, current: float, total: float | None = None, description: str | None = None) -> None:
        """Report how many items are done, of how many, and a text; None leaves a value as it is."""
        if type(current) is int and 0 <= current <= self._gate and (description is None or type(description) is str):
            if total is not self._total and total is not None:
                if type(total) is not int or total != self._total:
                    self._set(current, total, description)
                    return
                self._total = total  # to be recognised by its identity at the next call
            self._current = current
            if description is not None:
                self._job.description = description  # cut and cleaned when it is sampled, not at each call
        else:
            self._set(current, total, description)

    def update(
        self,
        *,
        current: float | None = None,
        total: float | None = None,
        description: str | None = None,
        unit: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Set the values that are given; `meta` (at most 8 KiB as JSON) replaces the one before."""
        self._set(current, total, description)
        job = self._job
        if job.has_ended:
            return
        if (unit := job.validated("unit", validation.text, unit)) is not None:
            self._stage.count.give_unit(unit)
        if (meta := job.validated("meta", validation.meta, meta)) is not None:
            job.meta = meta

    def check_cancelled(self) -> None:
        """Raise Cancelled if the job was asked to stop."""
        self._job.check_cancelled()

    @property
    def id(self) -> str:
        """The id of the job."""
        return self._job.id

    @property
    def cancellable(self) -> bool:
        """True if reports raise `Cancelled` once the job was asked to stop."""
        return self._job.cancellable

    @property
    def cancel_requested(self) -> bool:
        """True once the job was asked to stop."""
        return self._job.cancel_requested

    @property
    def dropped(self) -> int:
        """How many bad values were dropped."""
        return self._job.dropped

    # The slow path.

    def _advance(self, n: Any) -> None:
        if not self._job.admit() or not self._counts("n"):
            return
        try:
            number = validation.change(n)
            validation.count(max(self._current + number, 0))
        except ValueError as problem:
            self._job.drop("n", problem)
        else:
            current = self._current + number  # no call between load and store, where another thread could come in
            self._current = current if current > 0 else 0  # noqa: FURB136 (that would be a call)
        self._job.open_gate(self._stage.count)

    def _set(self, current: Any, total: Any, description: Any) -> None:
        job = self._job
        if not job.admit():
            return
        if total is not None and self._counts("total"):
            self._set_total(total)
        if current is not None and self._counts("current"):
            self._set_current(current)
        if type(description) is str:
            job.description = description
        elif (text := job.validated("description", validation.text, description)) is not None:
            job.description = text

    def _set_total(self, total: Any) -> None:
        if (number := self._job.validated("total", validation.count, total)) is not None:
            self._stage.give_total(number, total)

    def _set_current(self, current: Any) -> None:
        job, count = self._job, self._stage.count
        if (number := job.validated("current", validation.count, current)) is not None:
            if count.is_looped:
                job.stop_counting(self._stage)
            count.is_of_loop = False
            self._current = number
            job.open_gate(count)

    def _counts(self, name: str) -> bool:
        """Return whether the stage counts items; a report to another one is a bad value, unless the step was left."""
        problem = self._stage.problem
        if problem is not None:
            self._job.drop(name, ValueError(problem))
        return not self._stage.count.is_closed


def bind(reports: AnyReports, job: Job, stage: Stage) -> AnyReports:
    """Have reports count for that stage of the job; return them."""
    reports._bind(job, stage)
    return reports
