"""A clock that tests move by hand, and an observer that remembers."""

from __future__ import annotations

from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from progresskit.progress import Progress, State


class FakeClock:
    """
    A clock that stands still until `advance` is called.

    Calling it returns seconds since the epoch, so that it serves as a wall clock as well as a monotonic one.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def __call__(self) -> float:
        """Return the present time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so much time pass at once; a clock never goes back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds}")
        self._now += seconds

    def set_back(self, seconds: float) -> None:
        """Set it back, as an administrator or a time server does with the clock of a machine."""
        self._now -= seconds


class RecordingObserver:
    """Remembers all records; `wait_for` waits for one of them, so that tests need no sleep."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._records: list[Progress] = []

    def notify(self, progress: Progress) -> None:
        """Remember the record."""
        with self._changed:
            self._records.append(progress)
            self._changed.notify_all()

    def notify_all(self, records: Iterable[Progress]) -> None:
        """Remember several records; fits `on_update` of `SupportsPush.subscribe`."""
        for progress in records:
            self.notify(progress)

    @property
    def records(self) -> list[Progress]:
        """All records so far, in order."""
        with self._changed:
            return list(self._records)

    @property
    def last(self) -> Progress | None:
        """The newest record; None before there is one."""
        with self._changed:
            return self._records[-1] if self._records else None

    @property
    def states(self) -> list[State]:
        """The states so far, repetitions removed."""
        states = [progress.state for progress in self.records]
        return [state for state, before in zip(states, [None, *states], strict=False) if state is not before]

    def wait_for(self, predicate: Callable[[Progress], object], timeout: float = 30.0) -> Progress:
        """
        Return the first record, past or future, for which the predicate holds.

        Raises TimeoutError, with the last record in its message, if there is none after `timeout` seconds.
        """
        deadline, checked = monotonic() + timeout, 0
        with self._changed:
            while True:
                for progress in self._records[checked:]:
                    if predicate(progress):
                        return progress
                checked = len(self._records)
                if not self._changed.wait(deadline - monotonic()):
                    last = self._records[-1].to_json() if self._records else "none"
                    raise TimeoutError(f"no such record within {timeout} s; {checked} records, the last: {last}")
