"""
How the parts of a job add up: pure functions, which `progresskit.progress.fold` applies to stored records.

A part contributes whole hundredths of a percent, 0 to 10,000, times its weight; the job's percent is the sum over the
parts divided by the total weight. Everything is a whole number, so that a sum depends neither on the order of the
reports nor on rounding, and stays below 2**53.

A report holds absolute values: a repeated one has no effect, and the next one replaces a lost one.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from .start_tokens import was_made_first
from .states import FINAL_STATES, SKEW_SECONDS, State, is_over, last_heard
from .steps import UNFINISHED, WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterable

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Parts(NamedTuple):
    """How many parts a job has, None while that is unknown, and how many of them are in which state."""

    size: int | None
    succeeded: int
    failed: int
    cancelled: int
    running: int


class Part(NamedTuple):
    """
    The stored state of one part, under its name.

    `token` is that of its newest start, None where only an external update of it is known. `hundredths` is the highest
    value that was reported, by any worker. `opened` is when the newest start began, in seconds by the store's clock.
    `restored` says that no start proves it to be the newest: the store has lost an earlier record, perhaps.
    """

    token: str | None
    state: State
    weight: int
    hundredths: int
    opened: float
    restored: bool = False

    @property
    def counts(self) -> tuple[State, int, int]:
        """The values that the sums of the parent depend on."""
        return self.state, self.weight, self.hundredths

    @property
    def contribution(self) -> int:
        """The share of the part in the sum of its parent."""
        return self.weight * self.hundredths

    def dump(self) -> str:
        """Return the part as a line of JSON."""
        return _encode([self.token, self.state.value, *self[2:]])

    @classmethod
    def load(cls, text: str) -> Part:
        """Return the part of a text; raises ValueError or TypeError where it is none."""
        token, state, weight, hundredths, opened, restored, *_ = json.loads(text)
        if not (token is None or type(token) is str) or type(weight) is not int or type(hundredths) is not int:
            raise ValueError("a part that cannot be")
        return cls(token, State(state), weight, hundredths, float(opened), restored is True)


class Report(NamedTuple):
    """
    The state of a part, on its way to the store of its parent.

    `token` is that of the part's start, None for an external update. `is_start` is True until a report with that token
    is known to be stored, and `late` where an earlier one may be: it could not be sent at once, or its outcome is
    unknown. `run_token` is that of the parent's run where it is known: another run ignores the report.

    `age` is how many seconds before it is sent the part began, or the external update was made, by the monotonic clock
    of its process, and `created` the time of that in milliseconds since the epoch. `lease` and `ttl` are seconds.
    """

    parent: str
    name: str
    token: str | None
    run_token: str | None
    state: State
    weight: int
    hundredths: int
    lease: float
    ttl: float
    is_start: bool = False
    late: bool = False
    age: float = 0.0
    created: int = 0

    @property
    def is_external(self) -> bool:
        """True where no worker of the part has sent it."""
        return self.token is None

    @property
    def is_unproven(self) -> bool:
        """True where it is no proof that its start is the newest."""
        return self.late or not self.is_start


class Declaration(NamedTuple):
    """
    How many parts a job has, and their total weight; None leaves a value as it is. `token` identifies the call.

    `offset` is how many seconds after the beginning of its run a worker made it. With `keeps_texts`, the texts of a job
    that there is stay as they are.
    """

    token: str
    size: int | None
    weight: int | None = None
    offset: float = 0.0
    keeps_texts: bool = False


class Tally(NamedTuple):
    """
    The sums over the parts of one run of a job.

    `run_token` is that of the write with which the run began to have parts. `declared` is the token of the newest
    declaration, `declared_at` when it was made, and `declarations` how many there were. `running` counts the parts that
    have started and are not final. `changes` grows with each change and orders the records of one version.
    `started_at`, `heard_at` and `finished_at` are seconds by the store's clock, 0 while there is none; `lease`, in
    seconds, is the longest of the parts.
    """

    run_token: str
    size: int | None = None
    weight: int | None = None
    declared: str | None = None
    declared_at: float = 0.0
    declarations: int = 0
    sum: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    changes: int = 0
    started_at: float = 0.0
    heard_at: float = 0.0
    lease: float = 0.0
    finished_at: float = 0.0

    @classmethod
    def load(cls, values: Iterable[Any]) -> Tally:
        """Return the sums that a store has as numbers or texts; raises TypeError or ValueError where they are none."""
        run_token, size, weight, declared, declared_at, *rest = values
        return cls._make(
            (
                str(run_token),
                None if size is None else int(size),
                None if weight is None else int(weight),
                None if declared is None else str(declared),
                float(declared_at),
                *map(int, rest[:7]),
                *map(float, rest[7:11]),
            )
        )

    @property
    def total_weight(self) -> int | None:
        """The weight of all parts; None while it is not known."""
        return self.size if self.weight is None else self.weight

    @property
    def gives_percent(self) -> bool:
        """True where the percent of the job is that of its parts: their number or their weight was declared."""
        return self.total_weight is not None

    @property
    def hundredths(self) -> int | None:
        """How much is done, in hundredths of a percent, at most 9,999; None while the total weight is unknown or 0."""
        total = self.total_weight
        return min(self.sum // total, UNFINISHED) if total else None

    @property
    def parts(self) -> Parts:
        """The counts, as records show them."""
        return Parts(self.size, self.succeeded, self.failed, self.cancelled, self.running)

    @property
    def cursor(self) -> str:
        """The state of the parts that a viewer has seen: a section of the record's cursor."""
        return f"p{self.declarations}.{self.sum}.{self.succeeded}.{self.failed}.{self.cancelled}.{self.running}"

    @property
    def ended(self) -> int:
        """How many parts are final."""
        return self.succeeded + self.failed + self.cancelled

    def is_stalled(self, now: float) -> bool:
        """Return True where a part is running and the longest lease has passed since a part was last heard of."""
        return self.running > 0 and is_over(self.heard_at, now, self.lease)

    def seconds_left(self, until: float) -> float | None:
        """
        Return the time left at that moment of the store's clock; None while it cannot be known.

        It is the elapsed time times (100 - percent) / percent: the rest at the mean speed since the first part started.
        """
        done = self.hundredths
        if not done or not self.started_at:
            return None
        return max(until - self.started_at, 0.0) * (WHOLE - done) / done


def advanced(part: Part | None, report: Report, now: float) -> Part:
    """
    Return a part after a report; `now` is the time by the store's clock.

    The newest start owns the state, the others can only raise the hundredths. The weight never changes, and `succeeded`
    is permanent.
    """
    began, hundredths = now - report.age, min(max(report.hundredths, 0), WHOLE)
    if part is None:
        known = (report.token, report.state, report.weight, hundredths, began, report.is_unproven)
        return _in_state(Part(*known), report.state)
    if part.state is State.SUCCEEDED:
        return part
    hundredths = max(part.hundredths, hundredths)
    if report.token == part.token:
        state = part.state if part.state in FINAL_STATES else report.state
        return _in_state(part._replace(hundredths=hundredths, opened=min(part.opened, began)), state)
    part = part._replace(hundredths=hundredths)
    precedes = began < part.opened <= now + SKEW_SECONDS  # of one that is ahead, the clock was set back since
    if report.is_external:
        return part if part.state in FINAL_STATES or precedes else _in_state(part, report.state)
    is_older = was_made_first(report.token, began, part.token, part.opened)
    if is_older is None:
        takes_over = (report.is_start and not (report.late and precedes)) or (part.restored and began > part.opened)
    else:
        takes_over = (report.is_start or part.restored) and not is_older
    if takes_over:
        part = part._replace(token=report.token, opened=began, restored=report.is_unproven)
        return _in_state(part, report.state)
    return part


def _in_state(part: Part, state: State) -> Part:
    if state is State.SUCCEEDED:
        return part._replace(state=state, hundredths=WHOLE)
    return part if state is part.state else part._replace(state=state)


def counted(tally: Tally, before: Part | None, after: Part, report: Report, now: float) -> Tally:
    """Return the sums after a report has changed a part, or only renewed it."""
    sums: dict[str, Any] = {}
    if before is None or before.counts != after.counts:
        sums = _changed(tally, before, after)
    if after.token is not None and not tally.started_at:
        sums["started_at"] = after.opened
    heard_at = last_heard(tally.heard_at, now, tally.lease)
    return tally._replace(heard_at=heard_at, lease=max(report.lease, tally.lease), **sums)


def _changed(tally: Tally, before: Part | None, after: Part) -> dict[str, Any]:
    """Return the sums that change with a part."""
    gained = after.contribution - (before.contribution if before else 0)
    sums = {"sum": tally.sum + gained, "changes": tally.changes + 1}
    if before is None or before.state is not after.state:
        counts = Counter({_count_of(after.state): 1})
        counts.subtract([] if before is None else [_count_of(before.state)])
        sums |= {name: getattr(tally, name) + change for name, change in counts.items()}
    return sums


def _count_of(state: State) -> str:
    """Return the name of the count of parts in that state."""
    return state.value if state in FINAL_STATES else "running"


def declare(tally: Tally, declaration: Declaration, made: float, late: bool) -> Tally:
    """Return the sums after a declaration made at that time; a repeated, or a late and older one, has no effect."""
    if tally.declared == declaration.token or (late and made < tally.declared_at):
        return tally
    return tally._replace(
        size=tally.size if declaration.size is None else declaration.size,
        weight=tally.weight if declaration.weight is None else declaration.weight,
        declared=declaration.token,
        declared_at=made,
        declarations=tally.declarations + 1,
        changes=tally.changes + 1,
    )


def closed(tally: Tally, state: State) -> Tally:
    """
    Return the sums of a job that was ended from outside in that state, whose parts report no more.

    Those that were running ended in the state of the job, and those that never started count as cancelled.
    """
    missing = max((tally.size or 0) - tally.ended - tally.running, 0)
    if not tally.running and not missing:
        return tally
    name = _count_of(state)
    tally = tally._replace(running=0, changes=tally.changes + 1, **{name: getattr(tally, name) + tally.running})
    return tally._replace(cancelled=tally.cancelled + missing)


def settled(tally: Tally, cancel_requested: bool) -> tuple[Tally, State | None]:
    """
    Return the sums and the final state of a job without a worker; None while it goes on.

    It ends when `size` parts are final and none is running. After a request to cancel, parts that never started count
    as cancelled.
    """
    if tally.size is None or tally.running:
        return tally, None
    missing = tally.size - tally.ended
    if missing > 0:
        if not cancel_requested:
            return tally, None
        tally = tally._replace(cancelled=tally.cancelled + missing, changes=tally.changes + 1)
    if tally.failed:
        return tally, State.FAILED
    return tally, State.CANCELLED if tally.cancelled else State.SUCCEEDED
