"""
Decodes stored records, whichever release has written them, and isolates those that cannot be decoded.

During a rolling upgrade one store holds the records of two releases: unknown fields are ignored, missing ones have the
defaults of `Progress`, and a value that cannot be is as good as missing. A record that remains undecodable counts as
absent, and never keeps others from being read.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from . import bodies, validation
from .frozen import EMPTY, frozen, frozen_dict
from .parts import Tally
from .progress import (
    DERIVED,
    FINAL_STATES,
    OVERRIDE_FIELDS,
    STATES_IN_JSON,
    Details,
    Failure,
    Progress,
    State,
    Version,
    body_starts_with,
    check_id,
    has_created,
    life_of,
    moment,
    percentage,
    with_created,
)
from .steps import Step, StepState, ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from .parts import Declaration, Report
    from .progress import Number, Stored, Write

Arguments = ParamSpec("Arguments")
Decoded = TypeVar("Decoded")

LARGEST = sys.float_info.max

SHORT = 4_096
"""How long a body may be, in characters, to be kept decoded."""

REPORTED = 1_000
"""How many ids of undecodable records are logged by one process; the bound keeps log and memory small."""


def decode(stored: Stored, stalled: bool = False, id: str | None = None) -> Progress:
    """
    Return a stored record, decoded; `stalled` is for the backend to say, by the clock it judges leases with.

    `id` is the one under which the record was found, which counts more than the one in its body. A body that is laid
    out as `progresskit.bodies` says is not decoded before one of the record's details is asked for. Raises ValueError
    for a body that is not a JSON object.
    """
    run, attempt, seq, token, state, text, override, created, cancel_requested, _, _, born, tally = stored
    version = Version(run, attempt, seq)
    if override is None and tally is None:
        record = undecoded(text, id, state, version, stalled, cancel_requested, created, born)
        if record is not None:
            return record
    known = _known_short if len(text) <= SHORT and override is None else _known
    in_body, details, lease, owner = known(text, override, created)
    if override is not None and details.steps is not None:
        details = details._replace(steps=ended(details.steps, state))
    if tally is not None and not (token is not None and not tally.gives_percent and _counts_itself(details)):
        details = _with_parts(details, tally, state, is_owned=token is not None)
    id = check_id(in_body) if id is None else id
    is_stalled = stalled and state is State.RUNNING
    return Progress.from_store(
        details, tally, id, state, version, is_stalled, cancel_requested, lease, owner, life_of(born)
    )


class _Known(NamedTuple):
    """What is known of a job by the texts of its record."""

    id: Any
    details: Details
    lease: float | None
    owner: str | None


def _known(text: str, override: str | None, created: str | None) -> _Known:
    body = _body(text, override)
    return _Known(body.get("id"), _details(body, created), _count(body.get("lease")) or None, _text(body.get("owner")))


_known_short = lru_cache(256)(_known)  # the text of a job with parts stays the same while they report


def _counts_itself(details: Details) -> bool:
    """Return whether the worker of a job gave its percent: by steps, or by a count of its own with a total."""
    return details.total is not None or details.given_percent != DERIVED


def _with_parts(details: Details, tally: Tally, state: State, *, is_owned: bool) -> Details:
    """Return the details of a job with the values that follow from its parts; `is_owned` by a worker of its own."""
    # Processes that fold a log may hear the last reports before the end, or after it.
    changed_at = _moment(tally.finished_at or tally.heard_at)
    started_at, finished_at = details.started_at, details.finished_at
    if not is_owned:
        started_at, finished_at = _moment(tally.started_at), _moment(tally.finished_at) or finished_at
        changed_at = max(filter(None, (changed_at, finished_at)), default=None)
    return details._replace(
        current=tally.succeeded,
        total=tally.size,
        rate=None,
        eta=None if state in FINAL_STATES else tally.seconds_left(tally.heard_at),
        started_at=started_at,
        updated_at=max(filter(None, (details.updated_at, changed_at)), default=None),
        finished_at=finished_at,
    )


@lru_cache(256)
def _moment(seconds: float) -> datetime | None:
    """Return the time of a tally, which may be that of many records; None while there is none."""
    return moment(seconds) if seconds else None


def _details(body: dict[str, Any], created: str | None) -> Details:
    current = 0 if (count := _count(body.get("current"))) is None else count
    total = _count(body.get("total"))
    return Details(
        kind=_text(body.get("kind")),
        current=current,
        total=total,
        unit=_text(body.get("unit")),
        description=_text(body.get("description")),
        meta=frozen_dict(meta) if type(meta := body.get("meta")) is dict else EMPTY,
        rate=_count(body.get("rate")),
        eta=_count(body.get("eta")),
        result=frozen(body.get("result")),
        error=_failure(body.get("error")),
        parent=_text(body.get("parent")),
        steps=_steps(body.get("steps")),
        step=_whole(body.get("step")),
        given_percent=_percent(body, percentage(current, total)),
        created_at=_time(created or body.get("created_at")),
        started_at=_time(body.get("started_at")),
        updated_at=_time(body.get("updated_at")),
        finished_at=_time(body.get("finished_at")),
        next_retry_at=_time(body.get("next_retry_at")),
        part_of=_text(body.get("part_of")),
    )


# Bodies that are sent to pages as they are.


class EncodedRecord(NamedTuple):
    """A body with a public part that is sent unchanged; `created` takes the place of its `created_at`."""

    text: str
    before: str
    after: str
    created: str | None
    has_private_error: bool

    def details(self) -> Details:
        """Return the details, decoded; defaults where another program has made a body with a checksum and no JSON."""
        try:
            return _details(_object(self.text), self.created)
        except ValueError:
            return Details()

    def json(self, store_fields: str) -> str:
        """Return the JSON of the record, with these fields in their place, and without a private error."""
        return f"{self.before}{store_fields}{self.after}}}"


def undecoded(
    body: str,
    id: str | None,
    state: State,
    version: Version,
    stalled: bool,
    cancel_requested: bool,
    created: str | None,
    born: int,
) -> Progress | None:
    """
    Return the record of a body with a public part that is sent unchanged; None if the body has to be decoded.

    The body must agree with the other arguments, which the store keeps beside it; for them, see `decode` and
    `Stored`.
    """
    parts = bodies.split(body)
    if parts is None:
        return None
    before, after, text = parts
    private = _private(text)
    if id is None:
        id = check_id(before[len('{"id":"') : before.find('","kind":')])
    if private is None or not (
        before.startswith(body_starts_with(id))
        and before.startswith(STATES_IN_JSON[state], before.find(_STATE))
        and before.endswith(f'"attempt":{version[1]},')
        and _STEPS in before  # which a page expects, and the releases before steps have not written
    ):
        return None
    if created is not None and not has_created(parts, created):
        if not _WRITTEN_TIME.fullmatch(created):
            return None
        after = with_created(parts, created)
    lease, owner, has_private_error = private
    source = _new(EncodedRecord, (body, before, after, created, has_private_error))
    is_stalled = stalled and state is State.RUNNING
    return Progress.from_store(
        source, None, id, state, version, is_stalled, cancel_requested, lease, owner, life_of(born)
    )


_new = tuple.__new__  # takes half the time of a NamedTuple's own
_STATE = ',"state":'
_STEPS = ',"steps":'
_WRITTEN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class _Private(NamedTuple):
    lease: float | None
    owner: str | None
    has_private_error: bool


@lru_cache(1_024)
def _private(text: str) -> _Private | None:
    """Return the private part of a body; for most jobs of a process it is the same text."""
    try:
        body = _object(f"{{{text[1:]}")
    except ValueError:
        return None
    error = _failure(body.get("error"))
    return _Private(_count(body.get("lease")) or None, _text(body.get("owner")), error is not None and not error.public)


# Bodies that have to be decoded.


def _body(text: str, override: str | None) -> dict[str, Any]:
    if override is None:
        return _object(text)
    update = _object(override)
    try:
        body = _object(text)
    except ValueError:
        return update  # which is a whole record, too
    return body | {name: update.get(name) for name in OVERRIDE_FIELDS}


def _object(text: str) -> dict[str, Any]:
    try:
        body = _parse(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if type(body) is not dict:
        raise ValueError(f"not an object but {type(body).__name__}")
    if text.count("{") + text.count("[") > validation.DEPTH and validation.is_deep(body, validation.DEPTH + 1):
        raise ValueError("nested too deep")
    if not _has_surrogates(text):
        return body
    mended: dict[str, Any] = _mended(body)
    if mended.get("owner") != body.get("owner"):
        mended["owner"] = None  # or it could be that of another user
    return mended


_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _has_surrogates(text: str) -> bool:
    if "\\u" in text and _ESCAPED_SURROGATE.search(text):
        return True
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _mended(value: Any) -> Any:
    """Return a JSON value without lone surrogates, which no transport could encode."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


def _finite(text: str) -> float | None:
    number = float(text)
    return number if -LARGEST <= number <= LARGEST else None


# The text of another program may hold `NaN`, `Infinity` and `1e999`, which no browser could read.
_parse = json.JSONDecoder(parse_float=_finite, parse_constant=lambda text: None).decode


# The fields: each function returns the value, or None where it cannot be one.


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _count(value: Any) -> Number | None:
    kind = type(value)
    return value if (kind is int or kind is float) and 0 <= value <= validation.LIMIT else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= validation.LIMIT else None


def _percent(body: dict[str, Any], derived: Number | None) -> Number | None:
    """Return the percent that the writer gave; DERIVED where it is the same as that of the count, or cannot be one."""
    given = body.get("percent", derived)
    is_percent = given is None or (_count(given) is not None and given < 100)
    return given if is_percent and given != derived else DERIVED


_STEP_STATES = {state.value: state for state in StepState}


def _steps(value: Any) -> tuple[Step, ...] | None:
    """Return the steps; None if one of them cannot be, for then they would be numbered otherwise."""
    steps = [_step(item) for item in value] if type(value) is list else []
    known = tuple(step for step in steps if step is not None)
    return known if len(known) == len(steps) > 0 else None


def _step(value: Any) -> Step | None:
    if type(value) is not dict:
        return None
    name, state = _text(value.get("name")), value.get("state")
    if name is None or type(state) is not str or state not in _STEP_STATES:
        return None
    return Step(name, _whole(value.get("weight")), _STEP_STATES[state], _count(value.get("percent")))


def _time(value: Any) -> datetime | None:
    if type(value) is not str:
        return None
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is UTC:
            return time
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _failure(value: Any) -> Failure | None:
    if type(value) is not dict or type(value.get("type")) is not str:
        return None
    return Failure(value["type"], _text(value.get("message")), value.get("public") is True)


# Writes that other processes have sent, and records of a store with untyped columns.


def check_write(write: Write) -> Write:
    """Return the write; a ValueError unless each field is of its type, so that it can be folded."""
    if not _are_numbers(write.lease, write.ttl, write.age):
        raise ValueError("a lease, a ttl or an age that cannot be")
    _check((write.run, write.attempt, write.seq), (write.id, write.body), (write.token, write.kind))
    _check_origin(write.late, write.created)
    if write.declaration is not None:
        _check_declaration(write.declaration)
    return write


def _check_declaration(declaration: Declaration) -> None:
    token, size, weight, offset, keeps_texts = declaration
    counts = {*map(type, (size, weight))} <= {int, type(None)} and min(size or 0, weight or 0) >= 0
    if not (type(token) is str and counts and _are_numbers(offset) and type(keeps_texts) is bool):
        raise ValueError("a declaration that cannot be")


def check_report(report: Report) -> Report:
    """Return the report; a ValueError unless each field is of its type, so that it can be folded."""
    if not _are_numbers(report.lease, report.ttl, report.age):
        raise ValueError("a lease, a ttl or an age that cannot be")
    _check((report.weight, report.hundredths), (report.parent, report.name), (report.token, report.run_token))
    _check_origin(report.late, report.created)
    if type(report.is_start) is not bool:
        raise ValueError("a start that cannot be")
    return report


def check_stored(stored: Stored) -> Stored:
    """Return the stored record; a ValueError unless each field is of its type, so that it can be folded."""
    if not _are_numbers(stored.opened):
        raise ValueError("a time that cannot be")
    _check(stored[:3], (stored.body,), (stored.token, stored.override, stored.created))
    _check_origin(stored.restored, stored.born)
    if not (stored.tally is None or isinstance(stored.tally, Tally)):
        raise ValueError("a tally that cannot be")
    return stored


def _check(version: tuple[Any, ...], texts: tuple[Any, ...], optional: tuple[Any, ...]) -> None:
    types = {*map(type, version)} == {int}, {*map(type, texts)} == {str}, {*map(type, optional)} <= {str, type(None)}
    if not all(types):
        raise ValueError("a version or a text that cannot be")


def _check_origin(flag: Any, created: Any) -> None:
    if not (type(flag) is bool and type(created) is int and created >= 0):
        raise ValueError("an origin that cannot be")


def _are_numbers(*numbers: Any) -> bool:
    return all(type(number) in {int, float} and isfinite(number) for number in numbers)


# Records of a store, of which some may be undecodable.


def decode_each(
    id: str,
    decode: Callable[Arguments, Decoded],
    /,
    *arguments: Arguments.args,
    **options: Arguments.kwargs,
) -> Decoded | None:
    """Call `decode` with those arguments for the record of one job; None where it fails, which is logged once."""
    try:
        return decode(*arguments, **options)
    except Exception as error:  # the text may be of any program, and raise any error
        report_undecodable(id, error)
        return None


_reported: dict[str, object] = {}


def report_undecodable(id: str, error: Exception) -> None:
    """Log that a record cannot be decoded, once for each id in a process."""
    if id in _reported or len(_reported) >= REPORTED:
        return
    mine = object()
    if _reported.setdefault(id, mine) is not mine:
        return  # another thread was faster
    from logging import getLogger

    getLogger("progresskit").warning(
        "The stored record of job %s cannot be decoded; it counts as absent until the job starts again: %s: %s",
        id,
        type(error).__name__,
        error,
    )
    if len(_reported) == REPORTED:
        getLogger("progresskit").warning("%d records could not be decoded; no more of them are logged", REPORTED)
