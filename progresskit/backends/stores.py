"""
The base of backends that keep records in a store: databases, key-value stores, files.

The adapter reads and writes records, atomically for each job; the other promises of `progresskit.abc.Backend` are
kept here: the fold, requests to cancel, forgetting, expiry, decoding, and noticing that the server was replaced.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple

from progresskit.abc import Backend
from progresskit.decoding import check_stored, decode, decode_each
from progresskit.errors import BackendUnavailable
from progresskit.parts import Tally
from progresskit.progress import FINAL_STATES, Effect, Progress, State, Stored, ask_to_cancel, fold, is_stalled

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from progresskit.config import Settings
    from progresskit.progress import Write

CONFLICT_RETRIES = 50
"""How often a transaction is tried again because another process has changed the same records."""

KNOWN_RECORDS = 10_000
"""Of how many records the revisions are remembered."""

CLOCK_SECONDS = 20.0
"""How long the time of a server is derived from this process's monotonic clock before the server is asked again."""

ABSENT = (0.0, False, 0, None)
"""The fields that the text of a record has gained since the first release, where an older text lacks them."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class StoredRecord(NamedTuple):
    """
    A job as a store keeps it.

    `heard_at`, when it was last written, and `expires_at` are seconds since the epoch by the store's clock; `lease` is
    in seconds. A record counts as absent once `expires_at` has passed, and the adapter may delete it.
    """

    stored: Stored
    heard_at: float
    lease: float
    expires_at: float

    def is_stalled(self, now: float) -> bool:
        """Return True for a running job with a lease that has run out."""
        return is_stalled(self.stored, self.heard_at, self.lease, now)

    def is_forgettable(self, now: float) -> bool:
        """Return True where the job is done or stalled."""
        return self.stored.state in FINAL_STATES or self.is_stalled(now)

    def dump(self) -> str:
        """
        Return the record as three lines of text, each a JSON value.

        First the fields that the fold compares, then the external update that overrides the body or an empty line, last
        the body: to fold another write into a record its body is not parsed.
        """
        run, attempt, seq, token, state, body, override, created, cancel_requested, *later = self.stored
        times = (self.heard_at, self.lease, self.expires_at)
        head = [run, attempt, seq, token, state.value, created, cancel_requested, *times, *later]
        return f"{_encode(head)}\n{override or ''}\n{body}"

    @classmethod
    def load(cls, text: str) -> StoredRecord:
        """Return the record of a text; raises ValueError or TypeError where it is none."""
        head, override, body = text.split("\n", 2)
        run, attempt, seq, token, state, created, cancel_requested, heard_at, lease, expires_at, *later = json.loads(
            head
        )
        known = (run, attempt, seq, token, State(state), body, override or None, created, cancel_requested is True)
        opened, restored, born, tally = (*later, *ABSENT[len(later) :])[: len(ABSENT)]
        stored = check_stored(Stored(*known, opened, restored, born, tally and Tally.load(tally)))
        return cls(stored, float(heard_at), float(lease), float(expires_at))


Decide = Callable[[str, StoredRecord | None, float], StoredRecord | None]
"""Given an id, its record or None, and the store's time, returns the record to store, or None for no change."""


class StoreBackend(Backend):
    """
    A backend of which the subclass gives `load` and `transact`.

    A subclass that can tell one server, or database, from another calls `check_server` within each write.
    """

    def __init__(self) -> None:
        self._written_to: Hashable = None

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> Self:
        """Make the backend of a URL; the constructor takes an address and `prefix`."""
        return cls(url, prefix=settings.prefix)  # type: ignore[call-arg]

    @abstractmethod
    def load(self, ids: Collection[str]) -> tuple[Mapping[str, StoredRecord], float]:
        """Return the records of those ids that there are, and the store's time; undecodable ones are left out."""

    @abstractmethod
    def transact(self, ids: Collection[str], decide: Decide) -> None:
        """
        Read the records of the ids, and store the one that `decide` returns for each, atomically for each record.

        `decide` is called again for a record that another process has changed before it was stored.
        """

    def transact_writes(self, writes: Mapping[str, Write], decide: Decide) -> None:
        """
        Do the same as `transact`, for writes; `decide` folds them in.

        A store may do without `decide` for a worker's write that opens a record, or is the owner's next one of the run
        that it opens a record with; `fold` must have the same result.
        """
        self.transact(writes, decide)

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in; return the run of each job."""
        if not batch:
            return {}
        writes = {write.id: write for write in batch}
        runs = {write.id: max(write.run, 1) for write in batch}  # where the store does without `decide`

        def decide(id: str, record: StoredRecord | None, now: float) -> StoredRecord | None:
            runs[id], after = folded(record, writes[id], now)
            return after

        with self.noticing_failure():
            self.transact_writes(writes, _living(decide))
        return runs

    def noticing_failure(self) -> AbstractContextManager[None]:
        """Return a block in which a failure of a write is noted: the publisher sends all again after it."""
        return _NoticingFailure(self._forget_server)

    def _forget_server(self) -> None:
        self._written_to = None

    def check_server(self, identity: Hashable) -> None:
        """
        Raise BackendUnavailable once after writes have begun to reach another server, so that all is sent again.

        `identity` differs between two servers of which the second may lack records of the first.
        """
        known, self._written_to = self._written_to, identity
        if known not in {None, identity}:
            raise BackendUnavailable(f"{self}: another server has taken its place")

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known and have not expired."""
        if not ids:
            return {}
        records, now = self.load(ids)
        return self.progress_of(records, now)

    def progress_of(self, records: Mapping[str, StoredRecord], now: float) -> dict[str, Progress]:
        """Return the records as `read` does; those that have expired or cannot be decoded are left out."""
        found = dict[str, Progress]()
        for id, record in records.items():
            if now < record.expires_at:
                progress = decode_each(id, decode, record.stored, record.is_stalled(now), id)
                if progress is not None:
                    found[id] = progress
        return found

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done."""
        accepted = set[str]()

        def decide(id: str, record: StoredRecord | None, now: float) -> StoredRecord | None:
            accepted.discard(id)
            if record is None or record.stored.state in FINAL_STATES:
                return None
            accepted.add(id)
            if record.stored.cancel_requested:
                return None
            return record._replace(stored=ask_to_cancel(record.stored, now))

        if ids:
            self.transact(ids, _living(decide))
        return accepted

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        if not ids:
            return set()
        records, now = self.load(ids)
        return {id for id, record in records.items() if record.stored.cancel_requested and now < record.expires_at}

    def forget(self, ids: Collection[str]) -> set[str]:
        """Replace those that are done or stalled by records that have expired, for the adapter to delete."""
        gone = set[str]()

        def decide(id: str, record: StoredRecord | None, now: float) -> StoredRecord | None:
            gone.discard(id)
            if record is None or not record.is_forgettable(now):
                return None
            gone.add(id)
            # Expired long ago, also by the clock of a process that is behind.
            return record._replace(stored=record.stored._replace(body="{}", override=None), expires_at=0.0)

        if ids:
            self.transact(ids, _living(decide))
        return gone

    def close(self) -> None:
        """Close nothing: a subclass closes its connections."""

    def after_fork_in_child(self) -> None:
        """Forget the state of the parent; a subclass keeps its connections with `keep_inherited`."""
        self._written_to = None


class _NoticingFailure:
    """Calls `notice` where the block finds the backend unavailable; in each write, and a generator takes longer."""

    __slots__ = ("_notice",)

    def __init__(self, notice: Callable[[], None]) -> None:
        self._notice = notice

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, BackendUnavailable):
            self._notice()


class RevisionBackend(StoreBackend):
    """
    A backend on a store that numbers the revisions of a record, and replaces it only where it has a given one.

    The last record that this process has stored is remembered with its revision, so that the next write of the same
    job need not read it. A subclass calls `forget_revisions` when it has connected again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, tuple[StoredRecord | None, int]] = {}

    @abstractmethod
    def get_records(self, ids: Collection[str]) -> tuple[dict[str, tuple[StoredRecord | None, int]], float]:
        """Return each record with its revision, None and 0 where there is none, and the store's time."""

    @abstractmethod
    def swap_records(self, records: Mapping[str, tuple[StoredRecord, int]]) -> dict[str, int]:
        """Store those records that still have the revision that is given; return the new revisions of these."""

    @abstractmethod
    def publish_cancels(self, ids: Collection[str]) -> None:
        """Notify the workers of jobs that were asked to stop."""

    @abstractmethod
    def time(self) -> float:
        """Return the store's time."""

    def forget_revisions(self) -> None:
        """Read each record before it is written again."""
        self._known.clear()

    def load(self, ids: Collection[str]) -> tuple[dict[str, StoredRecord], float]:
        """Read the records."""
        found, now = self.get_records(ids)
        return {id: record for id, (record, _) in found.items() if record is not None}, now

    def transact(self, ids: Collection[str], decide: Decide) -> None:
        """Swap the records, and again those that another process has changed in between."""
        retry_conflicts(ids, lambda left: self._swap(left, decide), self)

    def _swap(self, ids: Collection[str], decide: Decide) -> list[str]:
        known = {id: found for id in ids if (found := self._known.get(id))}
        unread = [id for id in ids if id not in known]
        read, now = self.get_records(unread) if unread else ({}, self.time())
        before = read | known
        decided = {id: decide(id, before[id][0], now) for id in ids}
        changed = {id: (record, before[id][1]) for id, record in decided.items() if record is not None}
        stored = self.swap_records(changed) if changed else {}
        if len(self._known) >= KNOWN_RECORDS:
            self._known.clear()
        self._known.update((id, (changed[id][0], revision)) for id, revision in stored.items())
        if cancelled := [id for id in stored if asks_to_stop(changed[id][0], before[id][0])]:
            self.publish_cancels(cancelled)
        # A remembered record may be outdated, so that no decision against a change is based on it.
        again = [id for id in ids if id not in stored and (id in changed or id in known)]
        for id in again:
            self._known.pop(id, None)
        return again

    def after_fork_in_child(self) -> None:
        """Forget the revisions that the parent knew."""
        super().after_fork_in_child()
        self._known = {}


def folded(record: StoredRecord | None, write: Write, now: float) -> tuple[int, StoredRecord | None]:
    """Return the run that is stored after a write, and the record to store, None for no change."""
    stored, effect = fold(record and record.stored, write, now)
    assert stored is not None  # no write removes a record
    return stored.run, None if effect is Effect.IGNORED else StoredRecord(stored, now, write.lease, now + write.ttl)


def asks_to_stop(after: StoredRecord, before: StoredRecord | None) -> bool:
    """Return True where a request to cancel was stored."""
    return after.stored.cancel_requested and not (before and before.stored.cancel_requested)


def _living(decide: Decide) -> Decide:
    """Return the same, for which a record that has expired is none."""
    return lambda id, record, now: decide(id, record if record and now < record.expires_at else None, now)


def load_record(id: str, text: str) -> StoredRecord | None:
    """Return the record that `StoredRecord.dump` wrote; None where it cannot be decoded, which is logged once."""
    return decode_each(id, StoredRecord.load, text)


def retry_conflicts(ids: Collection[str], attempt: Callable[[Collection[str]], Collection[str]], store: object) -> None:
    """
    Call `attempt` with the ids, then with those it returns, until there are none left.

    It returns the ids of records that another process has changed since they were read. Raises BackendUnavailable,
    which names the store, after CONFLICT_RETRIES.
    """
    for _ in range(CONFLICT_RETRIES):
        ids = attempt(ids)
        if not ids:
            return
    raise BackendUnavailable(f"{store}: too many processes write the same jobs")


def load_records(texts: Mapping[str, str]) -> dict[str, StoredRecord]:
    """Return the records of texts, by id; undecodable ones are left out, and logged once."""
    found = ((id, load_record(id, text)) for id, text in texts.items())
    return {id: record for id, record in found if record is not None}


class ServerClock:
    """
    Seconds since the epoch by a server's clock, which is asked for each CLOCK_SECONDS.

    A `clock` that is given replaces that of the server. `lag` is how many seconds old the time that the server states
    may be. Where the clock of this host agrees with the server's answer, it is followed itself, so that
    processes of one host agree on what came first, however long the answer took and however coarse it is.
    """

    def __init__(self, clock: Callable[[], float] | None = None, lag: float = 0.0) -> None:
        self._clock, self._lag = clock, lag
        self._asked_at, self._ahead = -inf, time() - monotonic()

    def __call__(self, ask: Callable[[], float]) -> float:
        """Return the time; calls `ask`, which returns that of the server, where the last answer is too old."""
        if not self.is_fresh:
            before, host = monotonic(), time()
            stated = ask()
            self._asked_at = after = monotonic()
            if host - self._lag <= stated <= host + after - before:
                self._ahead = host - before
            else:
                self._ahead = stated + self._lag / 2 - (before + after) / 2
        return self.now

    def set(self, stated: float) -> None:
        """Note the server's time, which came with another answer just now."""
        self._asked_at = monotonic()
        self._ahead = stated - self._asked_at

    @property
    def is_fresh(self) -> bool:
        """True where the server need not be asked."""
        return self._clock is not None or monotonic() - self._asked_at <= CLOCK_SECONDS

    @property
    def now(self) -> float:
        """The time by the last answer; the host's before there is one."""
        return self._clock() if self._clock else monotonic() + self._ahead
