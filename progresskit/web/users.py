"""Who is signed in, as the frameworks say it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from progresskit import kit as kits
from progresskit import validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.kit import Kit
    from progresskit.progress import Progress

    User = Callable[[Any], Any] | None
    """The setting `user`."""


def signed_in(native: Any, user: User = None) -> Any:
    """Return who makes the framework's request, or ASGI's scope: its `user`, unless the site says otherwise."""
    if user is not None:
        return user(native)
    scope = native if isinstance(native, dict) else getattr(native, "scope", None)
    found = scope.get("user") if isinstance(scope, dict) else None
    return getattr(native, "user", None) if found is None else found


def signed_in_key(native: Any, user: User = None) -> str | None:
    """Return the key of the user who makes the framework's request; None for nobody."""
    found = signed_in(native, user)
    try:
        return None if found is None else validation.user(found)
    except ValueError:
        return None


class Question:
    """
    What the site's `authorize` is being asked: about which job, and which record of it is to be shown.

    Where no record is known yet, `owner_only` reads it, and leaves it here for who has asked.
    """

    __slots__ = ("id", "kit", "record")

    def __init__(self, kit: Kit, id: str, record: Progress | None) -> None:
        self.kit, self.id, self.record = kit, id, record


ASKED: ContextVar[Question | None] = ContextVar("progresskit.web.asked", default=None)


def owner_only(request: Any, id: str, right: str) -> bool:
    """
    Let a job's owner, as it was named by `owner=`, watch and cancel it by its raw id, and nobody else.

    To be the setting `authorize`, or to be called by a function of your own that is. Called otherwise, it is about jobs
    of the default kit.
    """
    question = ASKED.get()
    if question is None or question.id != id:
        question = Question(kits.default(), id, None)
    if question.record is None:
        question.record = question.kit.get(id)
    owner = None if question.record is None else question.record.owner
    return owner is not None and signed_in_key(request, question.kit.settings.user) == owner
