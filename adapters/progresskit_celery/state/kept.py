"""
What is kept of a job: three lines of text, each a JSON value.

The first is an array of all that the fold compares and the times that go with it, the second the verdict, or nothing,
the third the record. So the record is never parsed to fold another one in, and every serializer that Celery has can
carry it.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from progresskit.decoding import check_stored, decode
from progresskit.progress import Progress, State, Stored, is_over

LATER = 3
"""How many fields were added behind those of the first version: a record may lack them, or have yet others."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Kept(NamedTuple):
    """The job, when it was last heard of and when it expires (seconds since the epoch), and its lease (seconds)."""

    stored: Stored
    heard: float
    lease: float
    expires: float

    def dump(self) -> str:
        """Return the text."""
        run, attempt, seq, token, state, body, verdict, created, cancel_requested, *later = self.stored
        times = (self.heard, self.lease, self.expires)
        head = [run, attempt, seq, token, state.value, created, cancel_requested, *times, *later]
        return f"{_encode(head)}\n{verdict or ''}\n{body}"

    @classmethod
    def load(cls, text: str) -> Kept:
        """Read the text; a ValueError, or a TypeError, for anything else."""
        head, verdict, body = text.split("\n", 2)
        run, attempt, seq, token, state, created, cancel_requested, heard, lease, expires, *later = json.loads(head)
        known = (run, attempt, seq, token, State(state), body, verdict or None, created, cancel_requested is True)
        stored = check_stored(Stored(*known, *later[:LATER]))
        return cls(stored, float(heard), float(lease), float(expires))

    def stalled(self, now: float) -> bool:
        """Return whether the lease has run out."""
        return is_over(self.heard, now, self.lease)

    def progress(self, id: str, now: float) -> Progress:
        """Return the record; raises ValueError where it cannot be decoded."""
        return decode(self.stored, self.stalled(now), id)
