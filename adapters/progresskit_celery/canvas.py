"""The tasks that come after another one in a chain or chord: sent later, but their ids are known from the beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.integrations import fit_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PARTS = {"group": ("tasks",), "chain": ("tasks",), "chord": ("header", "body")}
"""Where the signature of several tasks holds them."""


def after(chain: Sequence[Any] | None, chord: Any) -> Iterator[tuple[str, str]]:
    """Yield the job id and the name of each task that waits for a task whose message has this `chain` and `chord`."""
    for signature in chain or ():
        yield from _tasks(signature)
    if chord:
        yield from _tasks(chord)


def _tasks(signature: Any) -> Iterator[tuple[str, str]]:
    kwargs = signature.get("kwargs") or {}
    parts = PARTS.get(signature.get("subtask_type"))
    options = signature.get("options") or {}
    if parts is None:
        if options.get("task_id"):
            yield fit_id(options["task_id"]), signature["task"]
    else:
        for part in parts:
            held = kwargs.get(part) or ()
            for each in (held,) if hasattr(held, "get") else held:
                yield from _tasks(each)
    yield from after(options.get("chain"), options.get("chord"))
