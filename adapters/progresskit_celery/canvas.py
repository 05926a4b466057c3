"""The tasks of a canvas: those that come after another one, whose ids are known from the beginning, and the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.integrations import PART_HEADER, PartIdentity, fit_id, part_headers, part_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARTS = {"group": ("tasks",), "chain": ("tasks",), "chord": ("header", "body")}
"""Where the signature of several tasks holds them."""


REPLACES_HEADER = "progresskit_replaces"
"""The header of a task that is one of several in place of a part; see `keep_part`."""


REVOKE_STAMPED = "progresskit_revoke_stamped"
"""The command to workers that revokes all tasks with some stamps, those that wait in a worker as well."""


class Follower(NamedTuple):
    """A task that waits for another one: the id of its job, its name, and the part that it is of another job."""

    id: str
    name: str
    part: PartIdentity | None


def after(chain: Sequence[Any] | None, chord: Any, callbacks: Any = None) -> Iterator[Follower]:
    """
    Yield the tasks that wait for a task whose message has this `chain`, `chord` and `callbacks`.

    Of the callbacks only those that are parts of a job: the ids of the others are not known before they are sent.
    """
    for signature in chain or ():
        yield from _tasks(signature)
    if chord:
        yield from _tasks(chord)
    for signature in listed(callbacks):
        yield from (follower for follower in _tasks(signature) if follower.part is not None)


def _tasks(signature: Any) -> Iterator[Follower]:
    options = signature.get("options") or {}
    if signature.get("subtask_type") not in PARTS:
        if options.get("task_id"):
            yield Follower(fit_id(options["task_id"]), signature["task"], part_of(options.get("headers")))
    else:
        for each in members(signature):
            yield from _tasks(each)
    yield from after(options.get("chain"), options.get("chord"), options.get("link"))


def members(signature: Any) -> Iterator[Any]:
    """Yield the signatures that one of several tasks consists of."""
    kwargs = signature.get("kwargs") or {}
    for part in PARTS[signature["subtask_type"]]:
        yield from listed(kwargs.get(part))


def listed(signatures: Any) -> Sequence[Any]:
    """Return several signatures, a single one, or none, as a sequence."""
    return (signatures,) if hasattr(signatures, "get") else signatures or ()


def make_part(options: dict[str, Any], part: PartIdentity, stamps: Mapping[str, Any]) -> None:
    """Make the task with these options a part of a job."""
    options["headers"] = {**(options.get("headers") or {}), **part_headers(part)}
    add_stamps(options, stamps)


def add_stamps(options: dict[str, Any], stamps: Mapping[str, Any]) -> None:
    """Add stamps to the options of a task."""
    names = options.get("stamped_headers") or ()
    options.update(stamps, stamped_headers=[*dict.fromkeys((*names, *stamps))])


def stamp_of(run: str) -> dict[str, str]:
    """
    Return the stamp by which workers find the tasks of a run that is cancelled.

    Each run has its own: a worker never forgets a revoked stamp.
    """
    return {f"progresskit_run_{run}": "1"}


def keep_part(request: Any, replacement: Any) -> None:
    """
    Give the part that a task is to the signature that replaces it, and its stamps to all tasks of that.

    Of several tasks one has the id of the replaced one, and with it the part. The others name it: it fails with them.
    """
    kept = {name: value for name, value in (request.headers or {}).items() if name in (PART_HEADER, REPLACES_HEADER)}
    if kept:
        stamps = {name: (request.stamps or {}).get(name) for name in request.stamped_headers or ()}
        helps = {REPLACES_HEADER: kept.get(REPLACES_HEADER, request.id)}
        for options in _options(replacement):
            mine = kept if options.get("task_id") == request.id else helps
            options["headers"] = {**(options.get("headers") or {}), **mine}
            add_stamps(options, stamps)


def replaces(headers: Mapping[str, Any] | None) -> str | None:
    """Return the job of the task that a task with these headers helps to replace; None for any other task."""
    id = (headers or {}).get(REPLACES_HEADER)
    return None if id is None else fit_id(id)


def _options(signature: Any) -> Iterator[dict[str, Any]]:
    if signature.get("subtask_type") in PARTS:
        for each in members(signature):
            yield from _options(each)
    else:
        yield signature["options"]
