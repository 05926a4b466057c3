"""
The record of a job, how records are ordered, and the one rule by which a write changes what is stored.

Everything here is a pure value or a pure function. `fold` is the model against which every backend is tested: whatever
a backend does in SQL, Lua or a loop has to come out as this does.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import Enum, StrEnum
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import InvalidId

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    JobId = str | int | UUID

Number = int | float
"""A count: a whole number wherever one was reported, else a float; never negative, never over 2**53."""

ID_LENGTH = 128
ID_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-")


def check_id(id: object) -> str:
    """
    Return the id as text: an int or a UUID, such as a primary key, is converted, text is returned as it is.

    Raises InvalidId unless it is 1 to 128 of `A-Z a-z 0-9 _ . : -` and starts with a letter or digit. A queue's task
    whose id is another has its job under what `fit_id` returns.
    """
    text = _id_text(id)
    if text is not None and 0 < len(text) <= ID_LENGTH and ID_ALPHABET.issuperset(text) and text[0] not in "_.:-":
        return text
    shown = type(id).__name__ if text is None else repr(text[:40])
    raise InvalidId(
        f"not a job id: {shown}; 1 to {ID_LENGTH} of A-Z a-z 0-9 _ . : -, the first a letter or digit "
        "(a queue's task with another id is the job progresskit.progress.fit_id(task_id))"
    )


def _id_text(id: object) -> str | None:
    """Return an id as text; None for what is neither text nor a whole number nor a UUID."""
    if isinstance(id, str):
        return id
    uuid = sys.modules.get("uuid")
    if uuid is not None and isinstance(id, uuid.UUID):
        return str(id)
    if isinstance(id, Integral) and not isinstance(id, bool):
        number = int(id)  # of an IntEnum, or of numpy, whose own text may be another
        return str(number) if number.bit_length() <= 4 * ID_LENGTH else ""  # Python refuses to write endless ones
    return None


def fit_id(id: JobId) -> str:
    """Return an id of a queue as it is where it is well-formed, otherwise a hash of it (40 hexadecimal digits)."""
    try:
        return check_id(id)
    except InvalidId:
        from hashlib import sha1

        return sha1(str(id).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


class State(StrEnum):
    """Where a job stands; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True for `succeeded`, `failed` and `cancelled`."""
        return self in FINAL_STATES


FINAL_STATES = frozenset((State.SUCCEEDED, State.FAILED, State.CANCELLED))


class Version(NamedTuple):
    """Orders what is stored of a job: the run, the attempt within it, and the number of the record within that."""

    run: int
    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.run}.{self.attempt}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `"<run>.<attempt>.<seq>"`; a ValueError for anything else."""
        run, attempt, seq = text.split(".")
        version = cls(int(run), int(attempt), int(seq))
        if str(version) != text:
            raise ValueError(f"not a version: {text!r}")
        return version


class Failure(NamedTuple):
    """Why a job failed; `public` allows `message` to be shown to a browser."""

    type: str
    message: str | None
    public: bool = False


class Progress(NamedTuple):
    """
    One immutable record of a job, complete in itself: a newer one replaces it whole.

    `current` and `total` count in `unit`, `rate` is per second, `eta` is in seconds as of `updated_at`, and all times
    are aware datetimes in UTC. `lease` (seconds) is how long the worker may be silent before the job counts as
    stalled, `owner` the key of the user whose job it is, `life` stands for all runs of the id since the store last knew
    none of it. These three are not part of the JSON.
    """

    id: str
    state: State
    version: Version
    kind: str | None = None
    current: Number = 0
    total: Number | None = None
    unit: str | None = None
    description: str | None = None
    meta: Mapping[str, Any] = {}
    rate: float | None = None
    eta: float | None = None
    result: Any = None
    error: Failure | None = None
    stalled: bool = False
    cancel_requested: bool = False
    parent: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None
    next_retry_at: datetime | None = None
    lease: float | None = None
    owner: str | None = None
    life: str = "0"

    @property
    def done(self) -> bool:
        """True once the state is final."""
        return self.state in FINAL_STATES

    @property
    def stopped_early(self) -> bool:
        """True where the job is `cancelled` and no request asked for it, such as a loop that was left by an error."""
        return self.state is State.CANCELLED and not self.cancel_requested

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self.version.attempt

    @property
    def percent(self) -> float | None:
        """0 to 99.99, floored to 2 decimals; 100 once succeeded; None while the total is unknown or 0."""
        return 100 if self.state is State.SUCCEEDED else percentage(self.current, self.total)

    @property
    def cursor(self) -> str:
        """What a viewer has seen: life and version, with `s` while stalled and `c` while cancelling."""
        stalled = "s" if self.stalled else ""
        asked = "c" if self.cancel_requested and not self.done else ""
        return f"{self.life}-{self.version}{stalled}{asked}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the record, as every transport sends it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state.value,
            "done": self.done,
            "current": self.current,
            "total": self.total,
            "unit": self.unit,
            "percent": self.percent,
            "description": self.description,
            "meta": dict(self.meta),
            "rate": self.rate,
            "eta": self.eta,
            "result": self.result,
            "error": self.error and {"type": self.error.type, "message": self.error.message},
            "attempt": self.attempt,
            "version": str(self.version),
            "cursor": self.cursor,
            "stalled": self.stalled,
            "cancel_requested": self.cancel_requested,
            "parent": self.parent,
            "created_at": format_time(self.created_at),
            "started_at": format_time(self.started_at),
            "updated_at": format_time(self.updated_at),
            "finished_at": format_time(self.finished_at),
            "next_retry_at": format_time(self.next_retry_at),
        }

    def to_json(self) -> str:
        """Return `to_dict()` as compact JSON."""
        return _encode(self.to_dict())

    def redacted(self) -> Progress:
        """Return the record without the message of an error that was not meant for the public."""
        if self.error is None or self.error.public or self.error.message is None:
            return self
        return self._replace(error=self.error._replace(message=None))


def percentage(current: Number, total: Number | None) -> float | None:
    """
    Return how much of `total` is done, in percent floored to 2 decimals, at most 99.99; None where it has no answer.

    Exact: a float counts as the decimal number that it is printed as, so 29 of 100 is 29 and 0.29 of 1 is 29.
    """
    if not total:
        return None
    if type(current) is int and type(total) is int:
        hundredths = current * 10_000 // total
    else:
        from fractions import Fraction

        hundredths = int(Fraction(repr(current)) * 10_000 / Fraction(repr(total)))
    hundredths = min(hundredths, 9_999)
    return hundredths // 100 if hundredths % 100 == 0 else hundredths / 100


def format_time(moment: datetime | None) -> str | None:
    """Return an aware UTC datetime as RFC 3339 with milliseconds and `Z`."""
    return None if moment is None else f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def parse_time(text: str | None) -> datetime | None:
    """Read what `format_time` wrote."""
    return None if text is None else datetime.fromisoformat(text)


def moment(seconds: float) -> datetime:
    """Return seconds since the epoch as an aware UTC datetime, cut to the milliseconds that the wire carries."""
    whole = int(seconds * 1000)
    return datetime.fromtimestamp(whole // 1000, UTC).replace(microsecond=whole % 1000 * 1000)


def milliseconds(moment: datetime | None) -> int:
    """Return an aware datetime as milliseconds since the epoch, at least 0; 0 for None."""
    return 0 if moment is None else max(round(moment.timestamp() * 1000), 0)


BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def life_of(born: int) -> str:
    """Return the name of the life of an id that began with a run created then (milliseconds since the epoch)."""
    digits, born = "", max(born, 0)
    while born:
        born, digit = divmod(born, 36)
        digits = BASE_36[digit] + digits
    return digits or "0"


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


# What is written, what is stored, and the fold that leads from one to the other.


class Role(Enum):
    """Who speaks in a write."""

    START = "start"  # a worker that begins a job, and has not heard yet that its first record is stored
    UPDATE = "update"  # a worker whose start is stored
    WORD = "word"  # somebody else: the sender of a task, or the process that looks after the workers


class Write(NamedTuple):
    """
    One record on its way to a backend.

    `token` is what the worker's start was given, None for a word from outside. `run` is the run that the worker was
    told it has, 0 while it does not know. `body` is the record as JSON (see `encode`). `lease` and `ttl` are seconds.

    `age` is how many seconds before it is sent the worker's run began, or the word from outside was made, by the
    monotonic clock of its process. `late` is set on a start that could not be sent at once, or was sent with an unknown
    outcome, and on an end that is sent again after an outage: it must not replace what began later. `created` is
    the `created_at` of the record in milliseconds since the epoch.
    """

    id: str
    role: Role
    token: str | None
    run: int
    attempt: int
    seq: int
    state: State
    kind: str | None
    body: str
    lease: float
    ttl: float
    age: float = 0.0
    late: bool = False
    created: int = 0


class Stored(NamedTuple):
    """
    What a backend keeps of one job, apart from when it was last heard of and when it expires.

    `body` is the last record of the sender or the owner. `verdict` is the record of a final word from outside that
    came on top of it, and `created` the time (RFC 3339) at which the run was first heard of. They stand beside `body`
    so that no backend has to merge JSON.

    `opened` is when the owner's run began, or the word from outside was made, in seconds by the store's clock.
    `restored` says that the record was opened by a write that proves no new start: a run that began later takes its
    place. `born` is when the first run of the id was created, in milliseconds since the epoch.
    """

    run: int
    attempt: int
    seq: int
    token: str | None
    state: State
    body: str
    verdict: str | None = None
    created: str | None = None
    cancel_requested: bool = False
    opened: float = 0.0
    restored: bool = False
    born: int = 0


SKEW_SECONDS = 2.0
"""By how much the clocks of two processes may differ that judge by what both of them wrote."""


def is_ahead(heard: float, now: float, lease: float) -> bool:
    """Tell whether the clock was set back since a job was heard of, for two clocks do not differ by so much."""
    return heard - now >= lease + SKEW_SECONDS


def is_over(heard: float, now: float, lease: float) -> bool:
    """Tell whether a lease has run out."""
    return now - heard >= lease or is_ahead(heard, now, lease)


class Effect(Enum):
    """What a write did."""

    TAKEN = "taken"  # what is stored has changed
    RENEWED = "renewed"  # it has not, but the job was heard of: lease and ttl start again, `opened` is more exact
    IGNORED = "ignored"


def fold(stored: Stored | None, write: Write, now: float) -> tuple[Stored | None, Effect]:
    """
    Return what is stored after a write, and what the write did; the four rules of the contract.

    `now` is the time of the store, in seconds of a clock that all its processes share.
    """
    began = now - write.age
    if write.role is Role.WORD:
        return _fold_word(stored, write, began, now)
    if stored is None:
        return _opened(write, max(write.run, 1), began), Effect.TAKEN
    if stored.token == write.token:
        return _fold_owner(stored, write, began)
    if not _takes_over(stored, write, began, now):
        return stored, Effect.IGNORED
    if _awaits(stored, write) or (stored.state not in FINAL_STATES and stored.attempt < write.attempt):
        return _opened(write, stored.run, began, stored), Effect.TAKEN
    return _opened(write, max(write.run, stored.run + 1), began, born=stored.born), Effect.TAKEN


def _awaits(stored: Stored, write: Write) -> bool:
    """Say whether the stored job waits for a worker, as which the writer may go on with its run."""
    return stored.state is State.PENDING and stored.attempt <= write.attempt


def _precedes(moment: float, stored: Stored, now: float) -> bool:
    """Say whether it was before the stored run began; of one that is ahead, the clock was set back since."""
    return moment < stored.opened <= now + SKEW_SECONDS


def _takes_over(stored: Stored, write: Write, began: float, now: float) -> bool:
    """
    Say whether a worker's write replaces a record that is not its own.

    A start that comes at once does. A late one, and an update where the store had lost the record, do so by when their
    runs began. What a sender has announced goes on with any start, and with an update that is not late.
    """
    if write.role is Role.START:
        return not write.late or _awaits(stored, write) or not _precedes(began, stored, now)
    if _awaits(stored, write) and not (write.late and _precedes(began, stored, now)):
        return True
    return stored.restored and began > stored.opened


def _fold_word(stored: Stored | None, write: Write, made: float, now: float) -> tuple[Stored | None, Effect]:
    if stored is None:
        return _opened(write, 1, made), Effect.TAKEN
    if write.state is State.PENDING:
        if stored.state is not State.PENDING:
            return stored, Effect.IGNORED
        return stored._replace(opened=min(stored.opened, made)), Effect.RENEWED
    # What announces a job may be said a moment after its task was sent, and so after the task was refused.
    is_about_this_run = not _precedes(made, stored, now) or (stored.state is State.PENDING and not write.late)
    if stored.state in FINAL_STATES or not is_about_this_run:
        return stored, Effect.IGNORED
    return stored._replace(seq=stored.seq + 1, state=write.state, verdict=write.body), Effect.TAKEN


def _fold_owner(stored: Stored, write: Write, began: float) -> tuple[Stored, Effect]:
    mine, theirs = (write.attempt, write.seq), (stored.attempt, stored.seq)
    if mine < theirs or (mine != theirs and stored.state in FINAL_STATES):
        return stored, Effect.IGNORED
    # No write arrives before it was sent, so of all estimates of the beginning the earliest is the best.
    opened = min(stored.opened, began)
    if mine == theirs:
        return stored._replace(opened=opened), Effect.RENEWED
    attempt, seq = mine
    taken = stored._replace(attempt=attempt, seq=seq, state=write.state, body=write.body, opened=opened)
    return taken, Effect.TAKEN


def _opened(write: Write, run: int, opened: float, before: Stored | None = None, born: int | None = None) -> Stored:
    """Return a record that a start or a word makes; `before` is that of the same run, `born` that of an earlier one."""
    created = before.created if before else created_at(write.body)
    if before is not None:
        born = before.born
    return Stored(
        run=run,
        attempt=write.attempt,
        seq=write.seq,
        token=write.token,
        state=write.state,
        body=write.body,
        created=created,
        cancel_requested=before.cancel_requested if before else False,
        opened=opened,
        restored=restores(write),
        born=write.created if born is None else born,
    )


def restores(write: Write) -> bool:
    """Say whether a record that this write opens may stand for a run that others have followed already."""
    return write.late or write.role is Role.UPDATE or (write.role is Role.WORD and write.state in FINAL_STATES)


def created_at(body: str) -> str | None:
    """Return that field of a body; None where there is none, for others may have written the body."""
    try:
        created = json.loads(body).get("created_at")
    except (ValueError, AttributeError, RecursionError):
        return None
    return created if isinstance(created, str) else None


def encode(progress: Progress) -> str:
    """Return the body of a record as it is stored: all that the backend does not keep beside it."""
    body = progress.to_dict()
    for name in ("done", "percent", "attempt", "version", "cursor", "stalled", "cancel_requested"):
        del body[name]
    if progress.error is not None and progress.error.public:
        body["error"]["public"] = True
    body["lease"] = progress.lease
    if progress.owner is not None:
        body["owner"] = progress.owner
    return _encode(body)


VERDICT_FIELDS = ("error", "result", "updated_at", "finished_at", "next_retry_at", "rate", "eta")
"""The fields that a final word from outside sets on what was stored; the others stay as the owner left them."""
