"""How a forked child treats the connections of its parent."""

from __future__ import annotations

_inherited: list[object] = []


def keep_inherited(*objects: object) -> None:
    """
    Keep inherited objects in this process for as long as it lives, unused.

    Connections, sockets and threads belong to the parent, which goes on to use them. A connection without references
    is closed by its finalizer, often with a farewell to the server, which would end the parent's session.
    """
    _inherited.extend(objects)
