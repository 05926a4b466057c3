"""Who is signed in, as the frameworks say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit import kit as kits
from progresskit import values

if TYPE_CHECKING:
    from collections.abc import Callable

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


def is_signed_in(native: Any, name: str, user: User = None) -> bool:
    """Tell whether the framework's request is one of the user with that key."""
    found = signed_in(native, user)
    try:
        return found is not None and values.user(found) == name
    except ValueError:
        return False


def owns(native: Any, record: Progress | None, user: User = None) -> bool:
    """Tell whether the framework's request is one of the job's owner; nobody is where it has none."""
    return record is not None and record.owner is not None and is_signed_in(native, record.owner, user)


def owner_only(request: Any, id: str, right: str) -> bool:
    """
    Let a job's owner, as it was named by `owner=`, watch and cancel it by its raw id, and nobody else.

    To be the setting `authorize`, of any kit; or to be called by a function of your own, about jobs of the default kit.
    """
    kit = kits.default()
    return owns(request, kit.get(id), kit.settings.user)
