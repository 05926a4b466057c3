"""The signed-in user of a request, by framework."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from progresskit import default_kit, validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.kit import Kit
    from progresskit.progress import Progress

    User = Callable[[Any], Any] | None
    """The setting `user`."""


def signed_in(native: Any, user: User = None) -> Any:
    """Return the user of the framework's request, or of ASGI's scope: its `user`, unless the setting `user` is set."""
    if user is not None:
        return user(native)
    scope = native if isinstance(native, dict) else getattr(native, "scope", None)
    found = scope.get("user") if isinstance(scope, dict) else None
    return getattr(native, "user", None) if found is None else found


def signed_in_key(native: Any, user: User = None) -> str | None:
    """Return the key of the user of the framework's request; None for an anonymous one."""
    found = signed_in(native, user)
    try:
        return None if found is None else validation.user(found)
    except ValueError:
        return None


class Question:
    """
    A question to the site's `authorize`: the job, and its record that is to be shown.

    Without a record, `owner_only` reads it, and leaves it here for the caller.
    """

    __slots__ = ("id", "kit", "record")

    def __init__(self, kit: Kit, id: str, record: Progress | None) -> None:
        self.kit, self.id, self.record = kit, id, record


ASKED: ContextVar[Question | None] = ContextVar("progresskit.web.asked", default=None)


def owner_only(request: Any, id: str, right: str) -> bool:
    """
    Allow only a job's owner, as given by `owner=`, to watch and cancel it by its raw id.

    Use it as the setting `authorize`, or call it in a function of your own that is. Called elsewhere, it reads jobs of
    the default kit.
    """
    question = ASKED.get()
    if question is None or question.id != id:
        question = Question(default_kit.default(), id, None)
    if question.record is None:
        question.record = question.kit.get(id)
    owner = None if question.record is None else question.record.owner
    return owner is not None and signed_in_key(request, question.kit.settings.user) == owner
