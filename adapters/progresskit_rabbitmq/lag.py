"""
How a read knows that it has seen all messages that the broker had for this process when it was called.

A ping that is sent to the queue of this process comes back behind all that was there before. Messages to the journal
lie in that queue as well, as copies, which say up to which message of each sender the journal has to be followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SENDERS = 1_000
"""Of how many senders at most the journal is waited for."""


class JournalLag:
    """The messages of which a copy has arrived, but not yet the message of the journal; the caller holds the lock."""

    def __init__(self) -> None:
        self._sent = self._returned = self._passed = 0
        self._expected: dict[str, int] = {}

    def next_ping(self) -> int:
        """Return the number of the ping that is sent now."""
        self._sent += 1
        return self._sent

    def expect(self, sender: str, number: int, folded: Mapping[str, int]) -> None:
        """Note the copy of a message that the journal will bring, or has brought."""
        if folded.get(sender, -1) < number:
            self._expected[sender] = number
            if len(self._expected) > SENDERS:
                del self._expected[next(iter(self._expected))]

    def ping_returned(self, number: int) -> None:
        """Note that a ping came back."""
        self._returned = number

    def check(self, folded: Mapping[str, int]) -> None:
        """Let the ping that came back pass if the journal has been folded as far as the copies before it."""
        if self._expected:
            self._expected = {s: n for s, n in self._expected.items() if folded.get(s, -1) < n}
        if not self._expected:
            self.give_up(self._returned)

    def give_up(self, number: int) -> None:
        """Let the ping pass all the same: a message to the journal may never have arrived there."""
        if self._passed < number == self._returned:
            self._expected = {}
            self._passed = number

    def has_passed(self, number: int) -> bool:
        """Return True once the ping has passed."""
        return self._passed >= number

    def reset(self) -> None:
        """Expect no message: the connection is another one."""
        self._expected = {}
