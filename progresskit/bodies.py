"""
The layout of a stored body: JSON of which pages get the public part as it is, so that only the worker encodes it.

A body is one JSON object in four parts, separated by tabs, which JSON takes for white space and never holds otherwise:

    {"id":…,"attempt":1,           the first half of the public part
    "parent":…,"next_retry_at":…   the other half; a page gets the fields that only the store knows in between
    ,"crc32":…                     of both halves
    ,"lease":30.0,…}               the private part: lease, owner, and an error with its text

Every release, and every function of a database, reads it as JSON. Any other text, such as a body of an earlier release
or one that was changed since, is no such body, and has to be decoded before it can be shown.
"""

from __future__ import annotations

from binascii import crc32
from typing import NamedTuple

SEPARATOR = "\t"

NESTING = 100
"""How many lists and objects the public part of a body may hold to be sent without a look at how deep they are."""


class Body(NamedTuple):
    """The parts of a body: the public ones before and after the fields of the store, and the private one."""

    before: str
    after: str
    private: str


_new = tuple.__new__  # takes half the time of a NamedTuple's own


def join(body: Body) -> str:
    """Return the text of a body."""
    before, after, private = body
    public = before + SEPARATOR + after
    return f'{public}{SEPARATOR},"crc32":{crc32(public.encode("utf-8", "surrogatepass"))}{SEPARATOR}{private}'


def split(text: str) -> Body | None:
    """Return the parts of a body; None unless `join` made it and the public part is unchanged."""
    try:
        before, after, checksum, private = text.split(SEPARATOR, 4)
    except ValueError:  # there are fewer parts, or more
        return None
    public = before + SEPARATOR + after
    if "\r" in public or "\n" in public or public.count("{") + public.count("[") > NESTING:
        return None  # a line break would end an event of a stream
    try:
        is_unchanged = checksum == f',"crc32":{crc32(public.encode())}'
    except UnicodeEncodeError:
        return None
    return _new(Body, (before, after, private)) if is_unchanged else None
