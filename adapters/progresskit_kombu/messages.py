"""
The messages that processes send each other, as JSON.

A message is `[1, sender, number, act, content]`. The number counts the messages that the sender has sent to all, from
1, so that receivers notice when one is missing; a ping, which a process sends to itself, has a negative number.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NamedTuple

from progresskit.backends.changes import encode

FORMAT = 1

PORTION = 256 * 1024
"""Characters of records in one message, about: a broker cuts off a slow receiver by the bytes that wait for it."""


class Act(StrEnum):
    """The purpose of a message."""

    CHANGES = "changes"  # records to fold, requests to cancel, jobs to forget
    PING = "ping"  # without content: all messages sent before it have been received once it is back
    HELLO = "hello"  # a process joins, and requests snapshots
    SNAPSHOT = "snapshot"  # the records that a process knows


class Message(NamedTuple):
    """One message; its act determines the form of the content."""

    sender: str
    number: int
    act: Act
    content: Any

    def pack(self) -> bytes:
        """Return the message as JSON; raises BackendError for records that JSON cannot hold."""
        return encode((FORMAT, *self))


def unpack(text: str | bytes) -> Message | None:
    """Return the message of a text; None for one that a later version of the kit may understand."""
    try:
        format, sender, number, act, content = json.loads(text)
        understood = format == FORMAT and type(sender) is str and type(number) is int
        return Message(sender, number, Act(act), content) if understood else None
    except (ValueError, TypeError, RecursionError):
        return None
