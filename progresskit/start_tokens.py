"""
The tokens of starts: each is unique, and of two from one host they say which start was made first.

A store orders starts by when they arrive, and by how long before that they began. Neither is exact: what a worker sent
just before it was killed may arrive after the start of the worker that has its task now, and some brokers tell the time
in whole seconds. The clock of a host is exact for all its processes.

A token is a name of the host, the time and a random number: 3, 7 and 3 bytes in base64, with digits in the order of
their character codes, so that tokens of one host compare as their times do. It is short because each part of a job is
stored with one, in Redis in a list of values of at most 64 bytes.
"""

from __future__ import annotations

from binascii import b2a_base64
from os import urandom
from time import monotonic_ns

HOST_LENGTH, LENGTH = 4, 18
"""How many characters of a token name its host, and how many it has in all."""

UNDER_WAY_SECONDS = 60.0
"""
How long a start may be on its way: of two that are further apart by the store's clock, that clock alone decides.

So a later worker is ignored at most where it follows within that time, if two hosts have one name but not one clock:
copies of a virtual machine that was running, or namespaces of time.
"""


def _name_of_host() -> bytes:
    """Return a name for this host until it is started again; on systems that have none, for this process."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            host = bytes.fromhex(file.read(6))
        if len(host) != 3:
            raise ValueError("the file is empty, as in some containers")
        return host
    except (OSError, ValueError):
        return urandom(3)


_HOST = _name_of_host()  # read at once: a job may begin in a finalizer, when there is no `open` any more

_ORDERED = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
)
"""From the digits of base64 to the same number of others, in ascending order."""


def new_token() -> str:
    """Return the token of a start that is made now."""
    return token_at(_HOST, monotonic_ns(), urandom(3))


def token_at(host: bytes, nanoseconds: int, random: bytes = bytes(3)) -> str:
    """Return a token; the time is of the host's monotonic clock, and counts in steps of 16 nanoseconds."""
    packed = host + (nanoseconds >> 4).to_bytes(7, "big") + random
    return b2a_base64(packed)[:LENGTH].translate(_ORDERED).decode()


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
