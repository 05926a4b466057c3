"""Sends a canvas whose tasks are the parts of one job."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import maybe_signature
from celery.canvas import Signature, chunks
from celery.utils import uuid

from progresskit.errors import BackendError, ConfigurationError, InvalidValue
from progresskit.integrations import PartIdentity, inherit_owner, owner_of, part_weight
from progresskit.progress import check_id

from .canvas import PARTS, listed, make_part, stamp_of
from .installation import find

if TYPE_CHECKING:
    from progresskit.kit import Kit
    from progresskit.progress import JobId

    from .installation import Installation

MAPS = ("celery.map", "celery.starmap")
"""Celery's tasks that call another one for each of several arguments."""

CHUNKS = "celery.chunks"
"""The name in the signature of a group of starmaps."""


def send(
    signature: Any,
    *,
    id: JobId | None = None,
    weights: Mapping[str, int] | Callable[[Any], int] | None = None,
    **options: Any,
) -> Any:
    """
    Send a task, or a canvas of several tasks, as one job: each task is a part of it.

    The `options` are those of `apply_async`. Returns what that returns, with the id of the job as the attribute
    `progress_id`: `id`, or else a fresh one of 128 random bits. Each task has a job of its own, too, under its own id.

    `weights` says by their names how much the tasks count, or is a function of the signature of a task: whole numbers
    from 1 to 1,000,000, 1 for a name that is missing. For `map`, `starmap` and `chunks` it is the name of the task that
    is mapped.

    The number of tasks is declared before the first one is sent. Callbacks (`link`) count; callbacks for errors and
    tasks that `install` ignores do not. The owner is named by the `headers`, or is that of the surrounding job. If a
    task cannot be sent, the job is cancelled, and the error is raised.

    Raises Unsupported where the backend cannot add up parts, ConfigurationError where progresskit is not installed in
    the app, InvalidId for an invalid id, and InvalidValue for invalid weights, and for the id of a job that is not done
    and has work already. Then nothing is sent.
    """
    signature = maybe_signature(signature)
    installation = _installation(signature.app)
    kit = installation.kit
    kit._check_parts()
    canvas = _Canvas(installation, weights)
    headers = dict(options.pop("headers", None) or {})
    inherit_owner(headers)
    signature = canvas.copy(_linked(signature, options), headers)
    root = _declare(kit, id, canvas, owner_of(headers))
    canvas.make_parts(root, {name: options.pop(name) for name in options.pop("stamped_headers", ())})
    try:
        result = signature.apply_async(**options)
    except BaseException:
        _stop(installation, root.id)
        raise
    if installation.is_eager:
        _stop(installation, root.id)  # a task that has not run by now never will
    if result is not None:
        result.progress_id = root.id
    return result


def _installation(app: Any) -> Installation:
    installation = find(getattr(app, "_get_current_object", lambda: app)())
    if installation is None:
        raise ConfigurationError(f"progresskit is not installed in {app}: call progresskit_celery.install(app)")
    return installation


def _linked(signature: Any, options: dict[str, Any]) -> Any:
    """Return the signature with the callbacks that are among the options, in place of its own; Celery does the same."""
    if "link" not in options or signature["subtask_type"] == "group":
        return signature  # for a group Celery refuses them
    return signature.clone().set(link=options.pop("link"))


class _Root(NamedTuple):
    """
    The job of a canvas.

    `run` names the run of it that this canvas is. `run_token` is the same, or None where it is not certain that the
    store knows the run by that name.
    """

    id: str
    run: str
    run_token: str | None


def _declare(kit: Kit, id: JobId | None, canvas: _Canvas, owner: str | None) -> _Root:
    token = os.urandom(8).hex()
    root = os.urandom(16).hex() if id is None else check_id(id)
    run_token = token if id is None else _run_token(kit, root, token)
    kit._declare_group(root, token, len(canvas.tasks), weight=canvas.weight, owner=owner)
    return _Root(root, run_token or token, run_token)


def _run_token(kit: Kit, id: str, token: str) -> str | None:
    """Return the token of the run that a declaration with this one begins or joins; None where it is not known."""
    try:
        record = kit.get(id)
    except BackendError:
        return None
    if record is None or record.done:
        return token
    if record.tally is None or record.tally.size is not None:
        raise InvalidValue(
            f"the job {id} is not done and has work already: send this under another id, or end it first"
        )
    return record.tally.run_token


def _stop(installation: Installation, id: str) -> None:
    """Cancel what cannot run any more; eager tasks are in no queue."""
    kit = installation.kit
    try:
        if installation.is_eager:
            kit.backend.request_cancel((id,))
        else:
            kit.cancel(id)
    except BackendError:
        from logging import getLogger

        getLogger("progresskit").warning(
            "The job %s was not sent as a whole and cannot be cancelled", id, exc_info=True
        )


class _Canvas:
    """The tasks of a canvas, in a copy of its signature."""

    def __init__(self, installation: Installation, weights: Mapping[str, int] | Callable[[Any], int] | None) -> None:
        self._installation = installation
        self._weights = weights if callable(weights) else _checked(weights)
        self.tasks: list[tuple[Any, int]] = []
        """The signature of each task that is a part, and its weight."""

    @property
    def weight(self) -> int:
        """The weight of all parts."""
        return sum(weight for _, weight in self.tasks)

    def copy(self, signature: Any, headers: Mapping[str, Any], *, is_callback: bool = False) -> Any:
        """
        Return a copy of a signature, with those headers for each of its tasks, and take down its tasks.

        The headers of a canvas would otherwise replace those of its tasks. Celery gives an id to a callback only when
        it is sent; one that is never sent has to be known as well.
        """
        copy = self._clone(maybe_signature(signature, app=self._installation.app))
        options, kind = copy["options"], copy["subtask_type"]
        headers = {**(options.pop("headers", None) or {}), **headers}
        if kind != "group" and options.get("link"):
            options["link"] = [self.copy(link, {}, is_callback=True) for link in listed(options["link"])]
        if kind in PARTS:
            self._copy_members(copy, headers, is_callback)
            return copy
        options["headers"] = headers
        if is_callback:
            options.setdefault("task_id", uuid())
        if not self._installation.ignores(copy["task"]):
            self.tasks.append((copy, self._weight(copy)))
        return copy

    def _copy_members(self, copy: Any, headers: Mapping[str, Any], is_callback: bool) -> None:
        kwargs = copy["kwargs"] = dict(copy["kwargs"])
        for part in PARTS[copy["subtask_type"]]:
            held = kwargs.get(part)
            if hasattr(held, "get"):
                kwargs[part] = self.copy(held, headers, is_callback=is_callback)
            elif held is not None:
                kwargs[part] = [self.copy(each, headers, is_callback=is_callback) for each in held]

    def _clone(self, signature: Any) -> Any:
        name, kwargs, app = signature["task"], signature["kwargs"], self._installation.app
        if name in MAPS or name == CHUNKS:
            options = deepcopy(signature["options"])
            task, items = maybe_signature(kwargs["task"], app=app), [*kwargs["it"]]
            if name in MAPS:
                # As a plain signature with that route: in older releases of Celery its own kind drops other options.
                options.setdefault("route_name", task["task"])
                return Signature(name, (), {"task": task, "it": items}, options, immutable=True, app=app)
            return chunks(task, items, kwargs["n"], app=app).group().set(**options)
        # Of several tasks the members are copied here, and not by the `clone` of their kind.
        return Signature.clone(signature) if signature["subtask_type"] in PARTS else signature.clone()

    def _weight(self, signature: Any) -> int:
        if self._weights is None:
            return 1
        if callable(self._weights):
            return part_weight(self._weights(signature))
        mapped = signature["kwargs"]["task"] if signature["task"] in MAPS else signature
        return int(self._weights.get(mapped["task"], 1))

    def make_parts(self, root: _Root, stamps: Mapping[str, Any]) -> None:
        """Make the tasks parts of that job, with these stamps."""
        stamps = {**stamps, **stamp_of(root.run)}
        for signature, weight in self.tasks:
            make_part(signature["options"], PartIdentity(root.id, "", weight, run_token=root.run_token), stamps)


def _checked(value: Any) -> dict[str, int] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidValue(f"weights must be a mapping or a function, not {type(value).__name__}")
    return {name: part_weight(weight) for name, weight in value.items()}
