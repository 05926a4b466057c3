"""
Whose job a task is: said by who sends it, in a header of its message.

The header goes with the message through retries and redeliveries. What a task sends itself, the next step of its chain
among it, is its owner's unless told otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.errors import InvalidValue
from progresskit.kit import owner_key
from progresskit.scope import current_job

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

HEADER = "progresskit_owner"


def owned_by(user: Any) -> dict[str, str]:
    """
    Return the headers that make a task the job of a user: a web framework's user object, or the key of one.

        import_rows.apply_async((path,), headers=progresskit_celery.owned_by(request.user))

    Raises InvalidValue for somebody who is not signed in.
    """
    return {HEADER: owner_key(user)}


def read(headers: Mapping[str, Any] | None) -> str | None:
    """Return the owner that the headers of a message name; None for what cannot be one."""
    owner = (headers or {}).get(HEADER)
    try:
        return None if owner is None else owner_key(owner)
    except InvalidValue:
        return None


def hand_down(headers: MutableMapping[str, Any]) -> None:
    """Have what is about to be sent from within a job owned as the job is, unless it names an owner itself."""
    job = current_job()
    if job is not None and job.owner is not None:
        headers.setdefault(HEADER, job.owner)
