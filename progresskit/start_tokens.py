"""
The tokens of starts: each is unique, and of two from one host they say which start was made first.

A store orders starts by when they arrive, and by how long before that they began. Neither is exact: what a worker sent
just before it was killed may arrive after the start of the worker that has its task now, and some brokers tell the time
in whole seconds. The clock of a host is exact for all its processes.
"""

from __future__ import annotations

from functools import cache
from os import urandom
from time import monotonic_ns

HOST_LENGTH, LENGTH = 8, 30
"""How many characters of a token name its host, and how many it has in all."""

UNDER_WAY_SECONDS = 60.0
"""
How long a start may be on its way: of two that are further apart by the store's clock, that clock alone decides.

So no more is lost where two hosts have one name, as copies of a virtual machine that was running do.
"""


def new_token() -> str:
    """Return the token of a start that is made now."""
    return token_at(_host(), monotonic_ns(), urandom(3).hex())


def token_at(host: str, nanoseconds: int, suffix: str = "000000") -> str:
    """Return a token: `host` and `suffix` are 8 and 6 hexadecimal digits, the time is of the host's monotonic clock."""
    return f"{host}{nanoseconds:016x}{suffix}"


def was_made_first(token: str | None, began: float, other: str | None, opened: float) -> bool | None:
    """
    Return whether a start was made before another one; None where their tokens do not say it.

    `began` and `opened` are when the two began, in seconds by the store's clock.
    """
    if token is None or other is None or not len(token) == len(other) == LENGTH:
        return None
    if token[:HOST_LENGTH] != other[:HOST_LENGTH] or abs(began - opened) >= UNDER_WAY_SECONDS:
        return None
    return token < other


@cache
def _host() -> str:
    """Return a name for this host until it is started again; on systems that have none, for this process."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(HOST_LENGTH)
    except (OSError, ValueError):
        return urandom(HOST_LENGTH // 2).hex()
