"""
Keeps records until the backend has stored them.

While the backend is down, the newest record of each run is kept and tried again with a back-off. After that the last
records of live jobs, and those of jobs that have ended a moment ago, are written again: a server may have lost them.
"""

from __future__ import annotations

from collections import deque
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from .abc import SupportsParts
from .backoff import LONGEST_SECONDS, Backoff
from .errors import BackendUnavailable
from .progress import FINAL_STATES, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from logging import Logger

    from .abc import Backend
    from .progress import Write
    from .sampler import Sampler

    Key = tuple[str, str | None]

BATCH = 500
"""The most records of one write."""

UNSENT = 10_000
"""The most records of jobs that have ended which are kept for a backend that is down."""

RECENT_SECONDS = 30.0
RECENT = 1_000
"""The bounds, in seconds and in number, of the final records that a backend is sent again when it comes back."""

REFUSED = 1_000
"""The most jobs of which is kept, for the next flush to report, that their last record is not stored."""

_AT_ONCE = float("-inf")


class _Record:
    """The newest record of a run, or an external update, with the functions that let its waiting callers go on."""

    __slots__ = ("is_uncertain", "key", "since", "waiters", "write")

    def __init__(self, write: Write, since: float) -> None:
        self.write, self.since = write, since
        self.key = key_of(write)
        self.is_uncertain = False
        """True where an outage has held it back, or a write of it has failed that may have stored it."""
        self.waiters: list[Callable[[], None]] = []

    def release(self) -> None:
        """Let no one wait any longer."""
        waiters, self.waiters = self.waiters, []
        for finish in waiters:
            finish()

    def dated(self, now: float) -> Write:
        """Return the write, with its present age."""
        return self.write.aged(max(now - self.since, 0.0), is_uncertain=self.is_uncertain)


class Flush:
    """A wait until all records that were in the outbox at one moment have left it or are refused."""

    __slots__ = ("finished", "pending", "refused")

    def __init__(self) -> None:
        self.finished = Event()
        self.pending: set[Key] = set()
        self.refused: Mapping[Key, str] = {}
        """Why records are not stored, also those of earlier ones that no flush has reported."""


class _Receipt(NamedTuple):
    """The answer of the backend to a batch; see `SupportsParts.write_with_reports`."""

    runs: Mapping[str, int]
    run_tokens: Mapping[str, str]


class _Final(NamedTuple):
    """A final record, when it was stored, and in which runs of the job and of its parent."""

    stored_at: float
    write: Write
    since: float
    run: int
    run_token: str | None


class _RecentFinals:
    """The final records that were stored a moment ago."""

    def __init__(self) -> None:
        self._finals: deque[_Final] = deque(maxlen=RECENT)

    def add(self, final: _Final) -> None:
        self._finals.append(final)

    def expire(self, now: float) -> None:
        while self._finals and self._finals[0].stored_at < now - RECENT_SECONDS:
            self._finals.popleft()

    def remove(self, id: str) -> None:
        kept = [final for final in self._finals if final.write.id != id]
        self._finals.clear()
        self._finals.extend(kept)

    def take(self) -> Iterator[tuple[Write, float]]:
        """Give the last one of each run, to be written again, and when that run began; keep none."""
        finals = {key_of(final.write): final for final in self._finals}
        self._finals.clear()
        for _, write, since, run, run_token in finals.values():
            restoring = _restoring(write, run, run_token)
            if restoring is not None:
                yield restoring, since


class _Refusals:
    """Why records are not stored, for the next flush to report; the first one is logged."""

    def __init__(self) -> None:
        self._reasons: dict[Key, str] = {}
        self._logged = False

    def add(self, key: Key, why: str) -> None:
        if len(self._reasons) < REFUSED:
            self._reasons[key] = f"a record of job {key[0]} is not stored: {why}"
        if not self._logged:
            self._logged = True
            _log().error("A record of job %s is not stored; later ones are not logged: %s", key[0], why)

    def get(self, key: Key) -> str | None:
        return self._reasons.get(key)

    def all(self) -> Mapping[Key, str]:
        return dict(self._reasons)

    def remove(self, key: Key) -> None:
        self._reasons.pop(key, None)

    def mark_reported(self, reasons: Mapping[Key, str]) -> None:
        for key, why in reasons.items():
            if self._reasons.get(key) is why:
                del self._reasons[key]


class Outbox:
    """The records that wait to be stored; for one thread at a time, but where a method says otherwise."""

    def __init__(self, backend: Backend, clock: Callable[[], float], jobs: Sampler) -> None:
        self._backend, self._clock, self._jobs = backend, clock, jobs
        self._records: dict[Key, _Record] = {}
        self._recent = _RecentFinals()
        self._refusals = _Refusals()
        self._flushes: list[Flush] = []
        self.down = False
        """True while no record can be stored; a backend that only refuses a record is not down. Read in any thread."""
        self._backoff = Backoff()
        self._retry_at = _AT_ONCE
        self.lost = 0
        """How many records were given up."""

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: Key) -> bool:
        """Return whether a record of that id and token waits; safe in any thread."""
        return key in self._records

    @property
    def due(self) -> float | None:
        """The time of the next attempt, which may be in the past; None while no record waits."""
        return self._retry_at if self._records else None

    def refusal(self, key: Key) -> str | None:
        """Return why the last record of that id and token is not stored; safe in any thread."""
        return self._refusals.get(key)

    # Input.

    def put(self, write: Write, since: float, finish: Callable[[], None] | None = None) -> None:
        """
        Store a record at the next write, in place of an older one of its run; call `finish` once waiting is no use.

        `since` is when its run began, or when it was made if it is an external update.
        """
        key = key_of(write)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(write, since)
        elif not _is_before(write, record.write):
            record.write, record.since = write, since
        if write.token is None:  # an external update keeps its place behind earlier reports
            self._records[key] = self._records.pop(key)
        if finish is not None:
            record.waiters.append(finish)
        if self.down:
            record.is_uncertain = True
        else:
            self.retry_now()  # a refused record that waits delays no other
        if len(self._records) > UNSENT + len(self._jobs):
            self._give_up_oldest()

    def retry_now(self) -> None:
        """Write at the next chance, without a pause after a failure."""
        self._retry_at = _AT_ONCE

    def begin(self, flush: Flush) -> None:
        """Have a flush wait for all records that are here now."""
        flush.pending.update(self._records)
        self._flushes.append(flush)

    def mark_reported(self, refused: Mapping[Key, str]) -> None:
        """Forget the refusals that a flush has reported."""
        self._refusals.mark_reported(refused)

    def forget(self, id: str) -> None:
        """Discard the records of runs of a job that have ended."""
        self._recent.remove(id)
        for record in [record for key, record in self._records.items() if key[0] == id and key[1] not in self._jobs]:
            self._discard(record)

    # Output.

    def write(self, now: float) -> None:
        """Write all records in batches, unless they have to wait; finish the flushes whose records are stored."""
        while self._records and now >= self._retry_at:
            batch = self._next_batch()
            try:
                receipt = self._send(batch)
            except BackendUnavailable as error:
                self._fail(error)
            except Exception as error:
                self._handle_refusal(batch, error)
            else:
                self._succeed(batch, receipt)
        self._finish_flushes()

    def _next_batch(self) -> list[_Record]:
        """Return the oldest records, one of each job."""
        batch: dict[str, _Record] = {}
        for record in self._records.values():
            if batch.setdefault(record.write.id, record) is record and len(batch) == BATCH:
                break
        return list(batch.values())

    def _send(self, batch: Iterable[_Record]) -> _Receipt:
        now, backend = self._clock(), self._backend
        writes = [record.dated(now) for record in batch]
        for write in writes:
            if write.report is not None or write.declaration is not None:
                assert isinstance(backend, SupportsParts)
                own = [write for write in writes if write.role is not Role.REPORT]
                reports = [write.report for write in writes if write.report is not None]
                return _Receipt(*backend.write_with_reports(own, reports))
        return _Receipt(backend.write(writes), {})

    def _finish_flushes(self) -> None:
        if not self._flushes:
            return
        for flush in self._flushes:
            if flush.pending.isdisjoint(self._records):
                flush.refused = self._refusals.all()
                flush.finished.set()
        self._flushes = [flush for flush in self._flushes if not flush.finished.is_set()]

    # After a write.

    def _succeed(self, batch: Iterable[_Record], receipt: _Receipt) -> None:
        runs, now = receipt.runs, self._clock()
        for record in batch:
            write = record.write
            run_token = receipt.run_tokens.get(write.report.parent if write.report else write.id)
            del self._records[record.key]
            self._refusals.remove(record.key)
            run = runs.get(write.id) or write.run
            if write.state in FINAL_STATES:
                self._recent.add(_Final(now, write, record.since, run, run_token))
            self._jobs.mark_stored(write.token, run, run_token)
            record.release()
        self._recent.expire(now)
        if self.down:
            self._recover()
            _log().info("Progress is stored again")

    def _fail(self, error: Exception) -> None:
        """Try again after a pause: the backend is down."""
        self._retry_at = self._clock() + self._backoff.next()
        if not self.down:
            self.down = True
            _log().warning("Progress cannot be stored now; jobs continue and it is tried again: %s", error)
        for record in self._records.values():
            record.is_uncertain = True
            record.release()
        self._jobs.notify_observers()

    def _recover(self) -> None:
        """Write records again that the backend may have lost in the outage."""
        self.down = False
        self._backoff.reset()
        for write, since in self._jobs.latest():
            self._records.setdefault(key_of(write), _Record(write, since))
        for write, since in self._recent.take():
            self._records.setdefault(key_of(write), _Record(write, since))

    def _handle_refusal(self, batch: list[_Record], error: Exception) -> None:
        for record in batch:
            record.is_uncertain = True
        if not self._isolate(batch) and not self._postpone(batch, error):
            self._fail(error)

    def _isolate(self, batch: list[_Record]) -> bool:
        """Write the records of a failed batch one at a time; if some can be written, give up the others."""
        refused = []
        for record in batch:
            try:
                self._succeed([record], self._send([record]))
            except BackendUnavailable:
                return False
            except Exception as error:
                refused.append((record, error))
        if len(refused) == len(batch):
            return False
        for record, refusal in refused:
            self._give_up(record, f"the backend refuses it: {refusal}")
        return True

    def _postpone(self, batch: list[_Record], error: Exception) -> bool:
        """
        Let a refused record wait if it is the only one and the backend answers another request.

        It is kept, because the backend may refuse all records: the next one will show.
        """
        if len(batch) > 1:
            return False
        [record] = batch
        try:
            self._backend.cancel_requested([record.write.id])
        except Exception:
            return False
        self._report(record, f"the backend refuses it: {error}")
        if self.down:
            self._recover()
        else:
            self._retry_at = self._clock() + LONGEST_SECONDS
        self._jobs.notify_observers()
        return True

    # Records that are not stored.

    def _give_up_oldest(self) -> None:
        oldest = next(record for key, record in self._records.items() if key[1] not in self._jobs)
        self._give_up(oldest, "the backend has been down for too long")

    def _give_up(self, record: _Record, why: str) -> None:
        self.lost += 1
        self._report(record, why)
        self._discard(record)

    def _report(self, record: _Record, why: str) -> None:
        """Let no one wait for a record any longer; a flush, at the latest the next one, raises."""
        self._refusals.add(record.key, why)
        self._settle(record.key)
        record.release()

    def _discard(self, record: _Record) -> None:
        del self._records[record.key]
        self._settle(record.key)
        record.release()

    def _settle(self, key: Key) -> None:
        for flush in self._flushes:
            flush.pending.discard(key)


def key_of(write: Write) -> Key:
    """Return the key of a run, or of the external updates of a job: id and token."""
    return write.id, write.token


def _is_before(write: Write, other: Write) -> bool:
    """Return whether another record of the run is newer: reports of programs elsewhere may arrive in any order."""
    return write.token is not None and (write.attempt, write.seq) < (other.attempt, other.seq)


def _restoring(write: Write, run: int, run_token: str | None) -> Write | None:
    """
    Return a stored final record as it is to be written again, to restore it and not to start a run.

    None for a part that belongs to no run of its parent.
    """
    if write.report is not None:
        bound = write.report.run_token or run_token
        # A part that belongs to no run of its parent is not restored.
        report = write.report._replace(is_start=False, run_token=bound) if bound else None
        write = write._replace(report=report)
    if write.role is Role.REPORT:
        return write._replace(late=True) if write.report else None
    if write.role is Role.EXTERNAL:
        return write._replace(late=True)
    return write._replace(role=Role.UPDATE, run=write.run or run, late=True)


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
