"""
The record of a job, how records are ordered, and the one rule by which a write changes the stored one.

Everything here is a pure value or a pure function. `fold` is the model against which every backend is tested: the
result of a backend's SQL, Lua or loop has to be the same.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from json.encoder import encode_basestring
from math import isfinite
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from . import bodies
from .bodies import Body
from .errors import InvalidId
from .frozen import EMPTY, frozen, frozen_dict, thawed
from .parts import Declaration, Part, Report, Tally, advanced, closed, counted, declare, settled
from .start_tokens import was_made_first
from .states import FINAL_STATES as FINAL_STATES  # noqa: PLC0414 (a public name of this module)
from .states import SKEW_SECONDS as SKEW_SECONDS  # noqa: PLC0414 (a public name of this module)
from .states import State as State  # noqa: PLC0414 (a public name of this module)
from .states import is_over
from .steps import Step, percent_of, share_of_items

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .parts import Parts

    JobId = str | int | UUID

Number = int | float
"""A count: a whole number wherever one was reported, else a float; never negative, never over 2**53."""

DERIVED = -1
"""Instead of a percent that was given: it follows from `current` and `total`."""

ID_LENGTH = 128
ID_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-")


def check_id(id: object) -> str:
    """
    Return the id as text: an int or a UUID, such as a primary key, is converted, text is returned as it is.

    Raises InvalidId unless it is 1 to 128 of `A-Z a-z 0-9 _ . : -` and starts with a letter or digit. A queue's task
    with another id has its job under the id that `fit_id` returns.
    """
    text = id_text(id)
    if text is not None and 0 < len(text) <= ID_LENGTH and ID_ALPHABET.issuperset(text) and text[0] not in "_.:-":
        return text
    shown = type(id).__name__ if text is None else repr(text[:40])
    raise InvalidId(
        f"not a job id: {shown}; 1 to {ID_LENGTH} of A-Z a-z 0-9 _ . : -, the first a letter or digit "
        "(a queue's task with another id is the job progresskit.progress.fit_id(task_id))"
    )


def id_text(id: object) -> str | None:
    """Return an id as text; None unless it is text, a whole number or a UUID."""
    if isinstance(id, str):
        return id
    uuid = sys.modules.get("uuid")
    if uuid is not None and isinstance(id, uuid.UUID):
        return str(id)
    if isinstance(id, Integral) and not isinstance(id, bool):
        number = int(id)  # an IntEnum and numpy's numbers may have another text
        return str(number) if number.bit_length() <= 4 * ID_LENGTH else ""  # Python refuses to write endless ones
    return None


def fit_id(id: JobId) -> str:
    """Return an id of a queue as it is where it is well-formed, otherwise a hash of it (40 hexadecimal digits)."""
    try:
        return check_id(id)
    except InvalidId:
        from hashlib import sha1

        return sha1(str(id).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


class Version(NamedTuple):
    """Orders the records of a job: the run, the attempt within it, and the number of the record within that."""

    run: int
    attempt: int
    seq: int

    def __str__(self) -> str:
        return "%d.%d.%d" % self  # noqa: UP031 (records are sent by the thousand, and this is the fastest)

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `"<run>.<attempt>.<seq>"`; a ValueError for any other text."""
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


class Details(NamedTuple):
    """The fields of a record that its writer sets; see the properties of `Progress`."""

    kind: str | None = None
    current: Number = 0
    total: Number | None = None
    unit: str | None = None
    description: str | None = None
    meta: Mapping[str, Any] = EMPTY
    rate: float | None = None
    eta: float | None = None
    result: Any = None
    error: Failure | None = None
    parent: str | None = None
    steps: tuple[Step, ...] | None = None
    step: int | None = None
    given_percent: Number | None = DERIVED
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None
    next_retry_at: datetime | None = None
    part_of: str | None = None


class Source(Protocol):
    """A record as it is stored: decoded when one of its details is asked for, and sent without decoding it."""

    @property
    def has_private_error(self) -> bool:
        """True where an error has a message that is not meant for the public."""

    def details(self) -> Details:
        """Return the details, decoded."""

    def json(self, store_fields: str) -> str:
        """Return the JSON of the record, with these fields in their place, and without a private error."""


_set = object.__setattr__
_OF_STORE = ("id", "state", "version", "stalled", "cancel_requested", "lease", "owner", "life", "tally")
"""The fields that `_fill` is given, in this order."""


class Progress:
    """
    One immutable record of a job, complete in itself: a newer one replaces it whole.

    `current` and `total` count in `unit`, `rate` is per second, `eta` is in seconds as of `updated_at`, and all times
    are aware datetimes in UTC. `lease` (seconds) is how long the worker may be silent before the job counts as
    stalled, `owner` the key of the owner, `life` stands for all runs of the id since the store last knew none of it,
    and `tally` holds the sums over its parts. These four are not part of the JSON. `given_percent` is the
    percent of a job with divided work, and DERIVED where it follows from the count.
    """

    __slots__ = ("_cursor", "_details", "_source", *_OF_STORE)

    if TYPE_CHECKING:  # the slots, which a type checker refuses to assign to, as `__setattr__` does

        @property
        def id(self) -> str: ...

        @property
        def state(self) -> State: ...

        @property
        def version(self) -> Version: ...

        @property
        def stalled(self) -> bool: ...

        @property
        def cancel_requested(self) -> bool: ...

        @property
        def lease(self) -> float | None: ...

        @property
        def owner(self) -> str | None: ...

        @property
        def life(self) -> str: ...

        @property
        def tally(self) -> Tally | None: ...

    _cursor: str
    _details: Details | None
    _source: Source | None

    def __init__(
        self,
        id: str,
        state: State,
        version: Version,
        kind: str | None = None,
        current: Number = 0,
        total: Number | None = None,
        unit: str | None = None,
        description: str | None = None,
        meta: Mapping[str, Any] = EMPTY,
        rate: float | None = None,
        eta: float | None = None,
        result: Any = None,
        error: Failure | None = None,
        stalled: bool = False,
        cancel_requested: bool = False,
        parent: str | None = None,
        created_at: datetime | None = None,
        started_at: datetime | None = None,
        updated_at: datetime | None = None,
        finished_at: datetime | None = None,
        next_retry_at: datetime | None = None,
        lease: float | None = None,
        owner: str | None = None,
        life: str = "0",
        steps: tuple[Step, ...] | None = None,
        step: int | None = None,
        given_percent: Number | None = DERIVED,
        part_of: str | None = None,
        tally: Tally | None = None,
    ) -> None:
        details = Details(
            kind,
            current,
            total,
            unit,
            description,
            frozen_dict(meta),
            rate,
            eta,
            None if result is None else frozen(result),
            error,
            parent,
            steps,
            step,
            given_percent,
            created_at,
            started_at,
            updated_at,
            finished_at,
            next_retry_at,
            part_of,
        )
        self._fill(None, details, id, state, version, stalled, cancel_requested, lease, owner, life, tally)

    @classmethod
    def from_store(
        cls,
        source: Source | Details,
        tally: Tally | None,
        id: str,
        state: State,
        version: Version,
        stalled: bool,
        cancel_requested: bool,
        lease: float | None,
        owner: str | None,
        life: str,
    ) -> Progress:
        """Return a record of a store; with a Source, it decodes its details when one of them is read."""
        progress = object.__new__(cls)
        stored, details = (None, source) if isinstance(source, Details) else (source, None)
        progress._fill(stored, details, id, state, version, stalled, cancel_requested, lease, owner, life, tally)
        return progress

    def _fill(self, source: Source | None, details: Details | None, *of_store: object) -> None:
        _set(self, "_cursor", "")
        _set(self, "_source", source)
        _set(self, "_details", details)
        for name, value in zip(_OF_STORE, of_store, strict=True):
            _set(self, name, value)

    @property
    def details(self) -> Details:
        """The fields that the writer has set, together."""
        return self._details or self._decode()

    def _decode(self) -> Details:
        assert self._source is not None
        details = self._source.details()
        _set(self, "_details", details)
        return details

    @property
    def kind(self) -> str | None:
        """The type of job, such as a task's name."""
        return (self._details or self._decode()).kind

    @property
    def current(self) -> Number:
        """How much is done; it may pass `total`."""
        return (self._details or self._decode()).current

    @property
    def total(self) -> Number | None:
        """How much there is to do; None where that is unknown."""
        return (self._details or self._decode()).total

    @property
    def unit(self) -> str | None:
        """The unit of the count; bytes are "B"."""
        return (self._details or self._decode()).unit

    @property
    def description(self) -> str | None:
        """The present activity of the job, in at most 500 characters."""
        return (self._details or self._decode()).description

    @property
    def meta(self) -> Mapping[str, Any]:
        """Values of the job's own, at most 8 KiB of JSON; equal to a dict, and read-only, as all viewers share it."""
        return (self._details or self._decode()).meta

    @property
    def rate(self) -> float | None:
        """How much is done per second; None where that is unknown."""
        return (self._details or self._decode()).rate

    @property
    def eta(self) -> float | None:
        """Seconds left as of `updated_at`; None where that is unknown."""
        return (self._details or self._decode()).eta

    @property
    def result(self) -> Any:
        """The result of a job that succeeded, at most 64 KiB of JSON; its dicts and lists are read-only."""
        return (self._details or self._decode()).result

    @property
    def error(self) -> Failure | None:
        """Why the job, or its last attempt, failed."""
        return (self._details or self._decode()).error

    @property
    def parent(self) -> str | None:
        """The id of the job in which this one was opened."""
        return (self._details or self._decode()).parent

    @property
    def steps(self) -> tuple[Step, ...] | None:
        """The steps of the job, in their order; None for a job without, and where loops without names come between."""
        return (self._details or self._decode()).steps

    @property
    def step(self) -> int | None:
        """The number of the current step, or of the current one of several loops, from 1."""
        return (self._details or self._decode()).step

    @property
    def given_percent(self) -> Number | None:
        """The percent that the writer gave; DERIVED where it follows from `current` and `total`."""
        return (self._details or self._decode()).given_percent

    @property
    def created_at(self) -> datetime | None:
        """When the run was first heard of."""
        return (self._details or self._decode()).created_at

    @property
    def started_at(self) -> datetime | None:
        """When a worker began."""
        return (self._details or self._decode()).started_at

    @property
    def updated_at(self) -> datetime | None:
        """When this record was made."""
        return (self._details or self._decode()).updated_at

    @property
    def finished_at(self) -> datetime | None:
        """When the run ended."""
        return (self._details or self._decode()).finished_at

    @property
    def next_retry_at(self) -> datetime | None:
        """When the next attempt is due, while `retrying`."""
        return (self._details or self._decode()).next_retry_at

    @property
    def part_of(self) -> str | None:
        """The id of the job of which this one is a part."""
        return (self._details or self._decode()).part_of

    @property
    def parts(self) -> Parts | None:
        """How many parts the job has in which state; None for a job without parts."""
        return self.tally and self.tally.parts

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
        if self.state is State.SUCCEEDED:
            return 100
        if self.tally is not None and self.tally.gives_percent:
            return percent_of(self.tally.hundredths)
        details = self.details
        given = details.given_percent
        return percentage(details.current, details.total) if given == DERIVED else given

    @property
    def cursor(self) -> str:
        """The state that a viewer has seen: life, version, parts, with `s` while stalled and `c` while cancelling."""
        return self._cursor or self._make_cursor()

    def _make_cursor(self) -> str:
        run, attempt, seq = self.version
        cursor = f"{self.life}-{run}.{attempt}.{seq}"
        if self.tally is not None:
            cursor += self.tally.cursor
        if self.stalled:
            cursor += "s"
        if self.cancel_requested and not self.done:
            cursor += "c"
        _set(self, "_cursor", cursor)
        return cursor

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
            "steps": None if self.steps is None else [step.to_dict() for step in self.steps],
            "step": self.step,
            "description": self.description,
            "meta": thawed(self.meta),
            "rate": self.rate,
            "eta": self.eta,
            "result": thawed(self.result),
            "error": self.error and {"type": self.error.type, "message": self.error.message},
            "attempt": self.attempt,
            "version": str(self.version),
            "cursor": self.cursor,
            "stalled": self.stalled,
            "cancel_requested": self.cancel_requested,
            "parts": self.parts and self.parts._asdict(),
            "parent": self.parent,
            "created_at": format_time(self.created_at),
            "started_at": format_time(self.started_at),
            "updated_at": format_time(self.updated_at),
            "finished_at": format_time(self.finished_at),
            "next_retry_at": format_time(self.next_retry_at),
            "part_of": self.part_of,
        }

    def to_json(self) -> str:
        """Return `to_dict()` as compact JSON."""
        if self._source is not None and not self._source.has_private_error:
            return self._source.json(self._store_fields())
        return f"{_before(self, self.error)}{self._store_fields()}{_after(self)}}}"

    def _store_fields(self) -> str:
        """Return the JSON of the fields that only the store knows, which stand together."""
        run, attempt, seq = self.version
        return (
            f'"version":"{run}.{attempt}.{seq}","cursor":"{self.cursor}","stalled":{_BOOLEANS[self.stalled]},'
            f'"cancel_requested":{_BOOLEANS[self.cancel_requested]},'
            f'"parts":{"null" if self.tally is None else _parts(self.tally.parts)},'
        )

    def redacted(self) -> Progress:
        """Return the record without the message of an error that was not meant for the public."""
        if self._source is not None and not self._source.has_private_error:
            return self
        shown = _without_private(self.error)
        return self if shown is self.error else self._replace(error=shown)

    _fields: ClassVar[tuple[str, ...]]

    def _asdict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {name: getattr(self, name) for name in self._fields}

    def _replace(self, **changes: Any) -> Progress:
        """Return the record with other values in these fields."""
        return Progress(**{**self._asdict(), **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a record cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a record cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Progress):
            return NotImplemented
        if self is other:
            return True
        if self._source is not None and self._source == other._source:
            return self._state_in_store() == other._state_in_store()
        return self._asdict() == other._asdict()

    def _state_in_store(self) -> tuple[object, ...]:
        return self.id, self.cursor, self.state, self.cancel_requested, self.lease, self.owner

    __hash__ = None  # type: ignore[assignment]  # as that of `meta`

    def __repr__(self) -> str:
        return f"Progress({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"

    def __reduce__(self) -> tuple[type[Progress], tuple[Any, ...]]:
        return Progress, tuple(self._asdict().values())


Progress._fields = tuple(name for name in Progress.__init__.__annotations__ if name != "return")


def _without_private(error: Failure | None) -> Failure | None:
    """Return an error without a message that is not meant for the public."""
    if error is None or error.public or error.message is None:
        return error
    return error._replace(message=None)


def percentage(current: Number, total: Number | None) -> float | None:
    """
    Return how much of `total` is done, in percent floored to 2 decimals, at most 99.99; None where it has no answer.

    Exact: a float counts as the decimal number that it is printed as, so 29 of 100 is 29 and 0.29 of 1 is 29.
    """
    return percent_of(share_of_items(current, total))


def format_time(moment: datetime | None) -> str | None:
    """Return an aware UTC datetime as RFC 3339 with milliseconds and `Z`."""
    return None if moment is None else f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def parse_time(text: str | None) -> datetime | None:
    """Read a time that `format_time` wrote."""
    return None if text is None else datetime.fromisoformat(text)


def moment(seconds: float) -> datetime:
    """Return seconds since the epoch as an aware UTC datetime, cut to the milliseconds that the wire carries."""
    whole = int(seconds * 1000)
    return datetime.fromtimestamp(whole // 1000, UTC).replace(microsecond=whole % 1000 * 1000)


def milliseconds(moment: datetime | None) -> int:
    """Return an aware datetime as milliseconds since the epoch, at least 0; 0 for None."""
    return 0 if moment is None else max(round(moment.timestamp() * 1000), 0)


BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"


@lru_cache(4_096)
def life_of(born: int) -> str:
    """Return the name of the life of an id that began with a run created then (milliseconds since the epoch)."""
    digits, born = "", max(born, 0)
    while born:
        born, digit = divmod(born, 36)
        digits = BASE_36[digit] + digits
    return digits or "0"


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


# Writes, stored records, and the fold that leads from one to the other.


class Role(Enum):
    """The origin of a write."""

    START = "start"  # a worker that begins a job, and has not heard yet that its first record is stored
    DEQUEUE = "dequeue"  # a worker that begins a task which a queue has delivered, as above
    UPDATE = "update"  # a worker, after its start was stored
    DECLARE = "declare"  # a caller of `group`, with how many parts the job has
    REPORT = "report"  # a part without a record of its own: only its `report` is stored
    EXTERNAL = "word"  # an external update: of the sender of a task, or the process that supervises the workers


STARTS = (Role.START, Role.DEQUEUE)
"""The roles of writes that begin a job."""

UNPROVEN = (*STARTS, Role.DECLARE)
"""The roles of writes that must not open a run twice where an earlier attempt may have opened it."""


class Write(NamedTuple):
    """
    One record on its way to a backend.

    `token` is that of the worker's start or of the declaration, None for an external update. `run` is the run that the
    worker knows it has, else 0. `body` is the record as JSON (see `encode`). `lease` and `ttl` are seconds.

    `age` is how many seconds before it is sent the worker's run began, or the external update was made, by the
    monotonic clock of its process. `late` is set on a start that could not be sent at once, or was sent with an unknown
    outcome, and on an end that is sent again after an outage: it must not replace a run that began later. `created` is
    the `created_at` of the record in milliseconds since the epoch. `declaration` is set where the writer says how many
    parts the job has, `report` where the job is a part of another one.
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
    declaration: Declaration | None = None
    report: Report | None = None

    def aged(self, age: float, *, is_uncertain: bool) -> Write:
        """Return the write as it is sent at that age; `is_uncertain` where an earlier attempt may have stored it."""
        late = self.late or (is_uncertain and self.role in UNPROVEN)
        report = self.report and self.report._replace(age=age, late=self.late or is_uncertain)
        return _new(Write, (*self[:_AGE], age, late, self.created, self.declaration, report))


_AGE = Write._fields.index("age")
_new = tuple.__new__  # takes a third of the time of a NamedTuple's `_replace`


class Stored(NamedTuple):
    """
    The stored record of one job, apart from the times at which it was last heard of and expires.

    `body` is the last record of the sender or the owner. `override` is the record of a final external update that
    came on top of it, and `created` the time (RFC 3339) at which the run was first heard of. They stand beside `body`
    so that no backend has to merge JSON.

    `opened` is when the owner's run began, or the external update was made, in seconds by the store's clock.
    `restored` says that the record was opened by a write that proves no new start: a run that began later takes its
    place. `born` is when the first run of the id was created, in milliseconds since the epoch. `tally` holds the sums
    over the parts of this run, None while it has none.
    """

    run: int
    attempt: int
    seq: int
    token: str | None
    state: State
    body: str
    override: str | None = None
    created: str | None = None
    cancel_requested: bool = False
    opened: float = 0.0
    restored: bool = False
    born: int = 0
    tally: Tally | None = None


def is_stalled(stored: Stored, heard: float, lease: float, now: float) -> bool:
    """
    Return True where a job is running and was not heard of for its lease.

    `heard` is when its worker was last heard of. A job that has parts and no worker of its own depends on its parts.
    """
    if stored.state is not State.RUNNING:
        return False
    if stored.token is None and stored.tally is not None:
        return stored.tally.is_stalled(now)
    return is_over(heard, now, lease)


class Effect(Enum):
    """The effect of a write."""

    APPLIED = "applied"  # the stored record has changed
    RENEWED = "renewed"  # it has not, but the job was heard of: lease and ttl start again, `opened` is more exact
    IGNORED = "ignored"


def fold(stored: Stored | None, write: Write, now: float) -> tuple[Stored | None, Effect]:
    """
    Return the stored record after a write, and the effect of the write; the four rules of the contract.

    `now` is the time of the store, in seconds of a clock that all its processes share.
    """
    began = now - write.age
    if write.role is Role.EXTERNAL:
        return _fold_external(stored, write, began, now)
    if write.role is Role.DECLARE:
        return _fold_declaration(stored, write, began, now)
    if stored is None:
        return _opened(write, max(write.run, 1), began), Effect.APPLIED
    if stored.token == write.token:
        return _fold_owner(stored, write, began)
    if not _takes_over(stored, write, began, now):
        return stored, Effect.IGNORED
    if awaits(stored, write) or _retries(stored, write):
        return _opened(write, stored.run, began, stored), Effect.APPLIED
    return _opened(write, max(write.run, stored.run + 1), began, born=stored.born), Effect.APPLIED


def awaits(stored: Stored, write: Write) -> bool:
    """Return whether the stored job waits for a worker, as which the writer may go on with its run."""
    is_running_group = stored.state is State.RUNNING and stored.token is None
    return (stored.state is State.PENDING or is_running_group) and stored.attempt <= write.attempt


def _retries(stored: Stored, write: Write) -> bool:
    """Return whether the write is of a later attempt of the stored run."""
    return stored.state not in FINAL_STATES and stored.attempt < write.attempt


def _was_withdrawn(stored: Stored, write: Write) -> bool:
    """
    Return whether the task of the write was cancelled while it waited for this attempt.

    Queues may execute a task that was removed: they remember it in memory only, or not for tasks that a worker has
    reserved. It must not open a new run, which nobody has cancelled.
    """
    has_waited = stored.token is None or stored.attempt < write.attempt
    return has_waited and stored.state is State.CANCELLED and stored.cancel_requested


def _precedes(moment: float, stored: Stored, now: float) -> bool:
    """Return whether it was before the stored run began; of one that is ahead, the clock was set back since."""
    return moment < stored.opened <= now + SKEW_SECONDS


def _takes_over(stored: Stored, write: Write, began: float, now: float) -> bool:
    """
    Say whether a worker's write replaces a record that is not its own.

    Of two starts on one host the later one owns the record, though they arrive in the other order. Another start that
    comes at once does, but for that of a task that was cancelled while it waited. A late one, and an update where the
    store had lost the record, do so by when their runs began. A job that a sender has announced goes on with any start,
    and with an update that is not late. A later attempt of the stored run is the later start.
    """
    if write.role is Role.DEQUEUE and _was_withdrawn(stored, write):
        return False
    if write.role in STARTS:
        is_older = None
        if not _retries(stored, write):
            is_older = was_made_first(write.token, began, stored.token, stored.opened)
        if is_older is None:
            is_older = write.late and _precedes(began, stored, now)
        return awaits(stored, write) or not is_older
    if awaits(stored, write) and not (write.late and _precedes(began, stored, now)):
        return True
    return stored.restored and follows(stored, write.token, began)


def follows(stored: Stored, token: str | None, began: float) -> bool:
    """Return whether a run, which began at that time by the store's clock, began after the stored one."""
    is_older = was_made_first(token, began, stored.token, stored.opened)
    return began > stored.opened if is_older is None else not is_older


def _fold_external(stored: Stored | None, write: Write, made: float, now: float) -> tuple[Stored | None, Effect]:
    if stored is None:
        return _opened(write, 1, made), Effect.APPLIED
    if write.state is State.PENDING:
        if stored.state is not State.PENDING:
            return stored, Effect.IGNORED
        return stored._replace(opened=min(stored.opened, made)), Effect.RENEWED
    # The announcement of a job may be made a moment after its task was sent, and so after the task was refused.
    is_about_this_run = not _precedes(made, stored, now) or (stored.state is State.PENDING and not write.late)
    if stored.state in FINAL_STATES or not is_about_this_run:
        return stored, Effect.IGNORED
    # An announcement that was made later than this end must not keep out a run that began in between.
    opened = min(stored.opened, made)
    tally = stored.tally and closed(stored.tally, write.state)
    ended = stored._replace(seq=stored.seq + 1, state=write.state, override=write.body, opened=opened, tally=tally)
    return ended, Effect.APPLIED


def _fold_owner(stored: Stored, write: Write, began: float) -> tuple[Stored, Effect]:
    mine, theirs = (write.attempt, write.seq), (stored.attempt, stored.seq)
    if mine < theirs or (mine != theirs and stored.state in FINAL_STATES):
        return stored, Effect.IGNORED
    # No write arrives before it was sent, so of all estimates of the beginning the earliest is the best.
    opened = min(stored.opened, began)
    if mine == theirs:
        return stored._replace(opened=opened), Effect.RENEWED
    attempt, seq = mine
    applied = stored._replace(attempt=attempt, seq=seq, state=write.state, body=write.body, opened=opened)
    if write.declaration is not None:
        # It is repeated with each record, so that another one that was made since must not be undone.
        before, made = stored.tally or Tally(write.declaration.token), began + write.declaration.offset
        applied = applied._replace(tally=declare(before, write.declaration, made, late=True))
    return applied, Effect.APPLIED


def _fold_declaration(stored: Stored | None, write: Write, made: float, now: float) -> tuple[Stored, Effect]:
    assert write.declaration is not None
    if stored is None or stored.state in FINAL_STATES:
        is_repeated = (
            stored is not None and stored.tally is not None and stored.tally.declared == write.declaration.token
        )
        if stored is not None and (is_repeated or (write.late and _precedes(made, stored, now))):
            return stored, Effect.IGNORED
        run, born = (1, None) if stored is None else (stored.run + 1, stored.born)
        opened = _opened(write, run, made, born=born)._replace(token=None)
        return _settled(opened, now), Effect.APPLIED
    before = stored.tally or Tally(stored.token or write.declaration.token)
    tally = declare(before, write.declaration, made, write.late)
    if tally is stored.tally:
        return stored, Effect.RENEWED
    if stored.token is None and not write.declaration.keeps_texts:
        stored = stored._replace(body=write.body)  # the texts of a job with a worker are the worker's
    return _settled(stored._replace(tally=tally), now), Effect.APPLIED


def fold_report(
    stored: Stored | None, part: Part | None, report: Report, now: float
) -> tuple[Stored, Part | None, Effect]:
    """
    Return the stored record of a job and one of its parts after a report of that part, and the effect of the report.

    `part` is the stored part of that name in this run of the job. `now` is as in `fold`. The effect is IGNORED where
    the report is of another run, or the run is final. Otherwise the part belongs to the run with the token
    `tally.run_token` from now on.
    """
    if stored is None:
        stored = _undeclared(report, now - report.age)
    tally = stored.tally or Tally(stored.token or report.run_token or report.token or "external")
    if stored.state in FINAL_STATES or report.run_token not in (None, tally.run_token):
        return stored, part, Effect.IGNORED
    after = advanced(part, report, now)
    added = counted(tally, part, after, report, now)
    effect = Effect.APPLIED if added.changes != tally.changes else Effect.RENEWED
    return _settled(stored._replace(tally=added), now), after, effect


def ask_to_cancel(stored: Stored, now: float) -> Stored:
    """Return the record of a live job with a request to cancel; a group of which no part is running ends at once."""
    return _settled(stored._replace(cancel_requested=True), now)


def _undeclared(report: Report, opened: float) -> Stored:
    """Return the record of a job of which no more is known than that it has this part."""
    known = (format_time(moment(report.created / 1000)), False, opened, False, report.created)
    return Stored(1, 1, 0, None, State.PENDING, undeclared_body(report), None, *known)


def undeclared_body(report: Report) -> str:
    """Return the body of that record."""
    created = moment(report.created / 1000)
    return encode(Progress(report.parent, State.PENDING, Version(1, 1, 0), created_at=created))


def _settled(stored: Stored, now: float) -> Stored:
    """Return the record of a job in the state that follows from its parts, if it has some and no worker."""
    if stored.token is not None or stored.tally is None or stored.state in FINAL_STATES:
        return stored
    tally, state = settled(stored.tally, stored.cancel_requested)
    if state is not None:
        return stored._replace(state=state, seq=stored.seq + 1, tally=tally._replace(finished_at=now))
    is_running = stored.state is State.PENDING and tally.declared is not None and tally.started_at > 0
    return stored._replace(state=State.RUNNING) if is_running else stored


def _opened(write: Write, run: int, opened: float, before: Stored | None = None, born: int | None = None) -> Stored:
    """Return the record that a write opens; `before` is that of the same run, `born` that of an earlier one."""
    created = before.created if before else created_at(write.body)
    if before is not None:
        born = before.born
    tally = before.tally if before else None
    if write.declaration is not None:
        made = opened + write.declaration.offset
        tally = declare(tally or Tally(write.declaration.token), write.declaration, made, write.late)
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
        tally=tally,
    )


def restores(write: Write) -> bool:
    """Return whether a record that this write opens may stand for a run that others have followed already."""
    return write.late or write.role is Role.UPDATE or (write.role is Role.EXTERNAL and write.state in FINAL_STATES)


def keeps_parts(before: Stored, after: Stored) -> bool:
    """Return whether the parts of a job are still those of its run after a change of the stored record."""
    return before.tally is not None and after.tally is not None and before.run == after.run


def created_at(body: str) -> str | None:
    """Return that field of a body; None where there is none, for others may have written the body."""
    parts = bodies.split(body)
    if parts is not None:
        return created_in(parts)
    try:
        created = json.loads(body).get("created_at")
    except (ValueError, AttributeError, RecursionError):
        return None
    return created if isinstance(created, str) else None


_CREATED = '"created_at":'


def created_in(parts: Body) -> str | None:
    """Return `created_at` of a body in parts."""
    begin = parts.after.find(_CREATED) + len(_CREATED)  # before it is only an id, which holds no quotation marks
    return None if parts.after[begin] == "n" else parts.after[begin + 1 : begin + 25]


def with_created(parts: Body, created: str) -> str:
    """Return the second half of a body with another `created_at`, as `format_time` writes it."""
    before, name, rest = parts.after.partition(_CREATED)
    return f'{before}{name}"{created}"{rest[rest.index(",") :]}'


def encode(progress: Progress) -> str:
    """
    Return the body of a record as it is stored: all that the backend does not keep beside it.

    It is JSON, and pages get its public part unchanged; see `progresskit.bodies`.
    """
    error = _without_private(progress.details.error)
    return bodies.join(Body(_before(progress, error), _after(progress), _private(progress)))


def _private(progress: Progress) -> str:
    """Return the JSON that no page gets."""
    error = progress.details.error
    private = f',"lease":{_number(progress.lease)}'
    if progress.owner is not None:
        private += f',"owner":{_string(progress.owner)}'
    if error is not None and (error.public or error.message is not None):
        # Of two fields of one name the last counts for a reader of JSON.
        public = ',"public":true' if error.public else ""
        private += f',"error":{{"type":{_string(error.type)},"message":{_string(error.message)}{public}}}'
    return f"{private}}}"


def body_starts_with(id: str) -> str:
    """Return how the body of a job begins."""
    return f'{{"id":"{id}","kind":'


def has_created(parts: Body, created: str) -> bool:
    """Return True where that is `created_at` of a body in parts."""
    return f'{_CREATED}"{created}",' in parts.after  # no other text in there has quotation marks inside


STATES_IN_JSON = {
    state: f',"state":"{state.value}","done":{"true" if state in FINAL_STATES else "false"},' for state in State
}
"""The part of a body that says how the job stands; no field before it can hold that text."""

_BOOLEANS = ("false", "true")


def _before(progress: Progress, error: Failure | None) -> str:
    """Return the JSON of a record up to the fields that only the store knows."""
    kind, current, total, unit, description, meta, rate, eta, result, _, _, steps, step, *_ = progress.details
    return (
        f"{body_starts_with(progress.id)}{_string(kind)}{STATES_IN_JSON[progress.state]}"
        f'"current":{_number(current)},"total":{_number(total)},"unit":{_string(unit)},'
        f'"percent":{_number(progress.percent)},"steps":{"null" if steps is None else _steps(steps)},'
        f'"step":{_number(step)},"description":{_string(description)},'
        f'"meta":{_encode(dict(meta)) if meta else "{}"},"rate":{_number(rate)},"eta":{_number(eta)},'
        f'"result":{"null" if result is None else _encode(result)},'
        f'"error":{"null" if error is None else _encode({"type": error.type, "message": error.message})},'
        f'"attempt":{progress.version.attempt},'
    )


def _steps(steps: tuple[Step, ...]) -> str:
    items = ",".join(
        f'{{"name":{_string(name)},"weight":{_number(weight)},"state":"{state.value}","percent":{_number(percent)}}}'
        for name, weight, state, percent in steps
    )
    return f"[{items}]"


def _parts(parts: Parts) -> str:
    size, succeeded, failed, cancelled, running = parts
    return (
        f'{{"size":{_number(size)},"succeeded":{succeeded},"failed":{failed},"cancelled":{cancelled},'
        f'"running":{running}}}'
    )


def _after(progress: Progress) -> str:
    """Return the JSON of a record from behind the fields that only the store knows, but for the bracket."""
    created, started, updated, finished, next_retry, part_of = progress.details[-6:]
    return (
        f'"parent":{_string(progress.details.parent)},"created_at":{_time(created)},"started_at":{_time(started)},'
        f'"updated_at":{_time(updated)},"finished_at":{_time(finished)},"next_retry_at":{_time(next_retry)},'
        f'"part_of":{_string(part_of)}'
    )


def _string(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _number(value: Number | None) -> str:
    if value is None:
        return "null"
    kind = type(value)
    return repr(value) if kind is int or (kind is float and isfinite(value)) else _encode(value)


def _time(moment: datetime | None) -> str:
    return "null" if moment is None else _encoded_time(moment)


@lru_cache(1_024)
def _encoded_time(moment: datetime) -> str:
    return f'"{format_time(moment)}"'


OVERRIDE_FIELDS = ("error", "result", "updated_at", "finished_at", "next_retry_at", "rate", "eta")
"""The fields that a final external update sets on the stored record; the others stay as the owner left them."""
