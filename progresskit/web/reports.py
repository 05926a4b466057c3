"""Reports of programs elsewhere: `PUT KEY/`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from progresskit import validation
from progresskit.errors import InvalidValue
from progresskit.progress import Failure, Progress, State, Version
from progresskit.remote_runs import Conflict, RemoteReport, StepReport
from progresskit.steps import LARGEST_WEIGHT, MOST_STEPS, NAME_LENGTH

from . import tokens
from .headers import same_origin
from .http import problem, refused, respond
from .records import as_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.remote_runs import RemoteRun

    from .context import RequestContext
    from .http import Response
    from .request import Headers, Request

LONGEST_REPORT = 2**18
"""Bytes: values of the largest size fit, also where all their characters are escaped."""

_SEQ = re.compile(r"[0-9]{1,16}")
_STATES = {state.value: state for state in State if state is not State.PENDING}


async def report(context: RequestContext, key: str) -> Response:
    """Answer `PUT KEY/`; `KEY` is a token, also where the site allows raw ids."""
    headers = context.request.headers
    if not same_origin(headers):
        return problem(403, "Send this from a page of the same origin, or with the header X-Progresskit.")
    jobs = await context.open(key, "report") if key.startswith("~") else None
    if jobs is None:
        return refused()
    [id] = jobs.ids
    keys, named = context.settings.secret_key, headers.get("progresskit-run")
    run = None if named is None else tokens.read_run(keys, named, id)
    if named is not None and run is None:
        return problem(409, "Progresskit-Run names no run of this job.")
    body = await _body(context.request)
    if body is None:
        return problem(413, f"A report has {LONGEST_REPORT:,} bytes at most.")
    try:
        given = _parse(body, _seq(headers, run))
    except ValueError as error:
        return problem(400, str(error))
    try:
        answer = await context.calls.report(run or id, given)
    except InvalidValue as error:
        return problem(409, str(error))
    if isinstance(answer, Conflict):
        return problem(409, answer.value)
    found = context.polls.keep((id,), {id: answer.record})
    jobs, found = await context.admit(jobs, found)
    if jobs.are_refused:
        return refused()
    own: dict[str, str | None] = {"Progresskit_Run": tokens.make_run(keys, answer.run), "Cache_Control": "no-store"}
    return respond(201 if run is None else 200, "application/json", as_json(context, jobs, found), **own)


async def _body(request: Request) -> bytes | None:
    """Return the body; None for a longer one than a report has."""
    body = bytearray()  # a client may send it in many small parts
    while request.read is not None and len(body) <= LONGEST_REPORT:
        part = request.read(LONGEST_REPORT + 1 - len(body))
        part = await part if isawaitable(part) else part
        if not part:
            break
        body += part
    return bytes(body) if len(body) <= LONGEST_REPORT else None


def _seq(headers: Headers, run: RemoteRun | None) -> int:
    text = headers.get("progresskit-seq")
    if text is None:
        if run is not None:
            raise ValueError("A report with Progresskit-Run has a Progresskit-Seq, which increases.")
        return 1
    if not _SEQ.fullmatch(text) or not 0 < int(text) < validation.LIMIT:
        raise ValueError("Progresskit-Seq is a whole number from 1, below 2**53.")
    return int(text)


def _parse(body: bytes, seq: int) -> RemoteReport:
    """Return the report; ValueError says what cannot be meant, without data of the request."""
    try:
        given = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        given = None
    if type(given) is not dict:
        raise ValueError("A report is a JSON object.")
    for name in given:
        if name not in _VALUES and name not in _ENDS and name not in _DIVISION:
            raise ValueError(_unknown(name))
    state = given.pop("state", None)
    if state is not None and (type(state) is not str or state not in _STATES):
        raise ValueError(f"`state` is one of {', '.join(_STATES)}.")
    values = {name: _checked(name, value) for name, value in given.items()}
    return _report(seq, _STATES[state or "running"], values)


def _report(seq: int, state: State, values: dict[str, Any]) -> RemoteReport:
    ends = {name: values.pop(name, None) for name in _ENDS if name != "state"}
    for name, value in ends.items():
        if value is not None and state not in _ENDS[name]:
            raise ValueError(f"`{name}` is for the state {' or '.join(_ENDS[name])}.")
    division = {name: values.pop(name, None) for name in _DIVISION}
    return RemoteReport(seq, state, values, **ends, **division)


def _unknown(name: str) -> str:
    """Return why a field is refused, which is named if it is one of the record."""
    names = f"These can be reported: {', '.join([*_VALUES, *_ENDS, *_DIVISION])}."
    return f"`{name}` cannot be reported. {names}" if name in _READ_ONLY else f"A field is not known. {names}"


def _checked(name: str, value: Any) -> Any:
    if value is None:
        return _WITHOUT.get(name)
    try:
        return _CHECKS[name](value)
    except ValueError as problem:
        raise ValueError(f"`{name}` {problem}.") from None


def _result(value: Any) -> Any:
    return validation.plain(value, validation.RESULT_BYTES)


def _error(value: Any) -> Failure:
    """Return a failure, of a text or of an object with the fields of an error of a record."""
    given = {"message": value} if type(value) is str else value
    if type(given) is not dict or not given.keys() <= {"type", "message"} or type(given.get("message")) is not str:
        raise ValueError("must be a string, or an object with `message` and perhaps `type`")
    kind = validation.text(given.get("type", "Error"))
    return Failure(kind, validation.text(given["message"], validation.MESSAGE_LENGTH), public=True)


def _time(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        moment = moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("must be a time with its offset from UTC, as in 2026-01-31T12:00:00Z") from None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _whole(value: Any) -> Any:
    """Return a number as an int if it is whole: JSON tells 3.0 from 3 no more than JavaScript does."""
    return int(value) if type(value) is float and value.is_integer() else value


def _weight(value: Any) -> int:
    try:
        return validation.weight(_whole(value))
    except ValueError:
        raise ValueError(f"must be a whole number from 1 to {LARGEST_WEIGHT:,}") from None


def _steps(value: Any) -> dict[str, int]:
    try:
        return validation.steps({name: _whole(each) for name, each in value.items()} if type(value) is dict else value)
    except ValueError:
        raise ValueError(
            f"must be an object of 1 to {MOST_STEPS} names of at most {NAME_LENGTH} characters with their weights, "
            f"whole numbers from 1 to {LARGEST_WEIGHT:,}, or a list of such names"
        ) from None


def _step(value: Any) -> StepReport:
    """Return a step, of an object with its name and perhaps its count."""
    if type(value) is not dict or not value.keys() <= {"name", "current", "total"}:
        raise ValueError("must be an object with `name`, and perhaps `current` and `total`")
    try:
        name = validation.step_name(value.pop("name", None))
    except ValueError:
        raise ValueError(f"must have a `name` of 1 to {NAME_LENGTH} characters") from None
    return StepReport(name, {field: _checked(field, number) for field, number in value.items()})


_VALUES = ("current", "total", "unit", "description", "meta")
_ENDS = {
    "state": tuple(_STATES.values()),
    "result": (State.SUCCEEDED,),
    "error": (State.FAILED, State.RETRYING),
    "next_retry_at": (State.RETRYING,),
}
"""The fields that a report does not keep from the one before, with the states that they are for."""

_DIVISION = ("weight", "steps", "step")
"""The fields that say how a job is a part of another one, or is made of steps."""

_WITHOUT = {"current": 0, "meta": dict[str, Any]()}
"""The values of fields that are null in a report and never in a record."""

_CHECKS: dict[str, Callable[[Any], Any]] = {
    "current": validation.count,
    "total": validation.count,
    "unit": validation.text,
    "description": validation.text,
    "meta": validation.meta,
    "result": _result,
    "error": _error,
    "next_retry_at": _time,
    "weight": _weight,
    "steps": _steps,
    "step": _step,
}

_READ_ONLY = frozenset((*Progress("a", State.PENDING, Version(1, 1, 0)).to_dict(), "owner", "lease"))
"""The fields of a record; those that are not reported follow from reports, or the site has set them."""
