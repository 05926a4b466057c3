"""
How a read knows that it has seen all that the broker had for this process when it was called.

A message that is sent to one's own queue comes back behind all that was there before. What was sent to the journal lies
in that queue as well, as a copy, and says up to which message of each sender the journal has to have been followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SENDERS = 1_000
"""Of how many senders at most is remembered what is still to come by the journal."""


class Barrier:
    """One message is on its way at a time; all who call meanwhile share the next. Whoever calls holds the lock."""

    def __init__(self, send: Callable[[int], None]) -> None:
        self._send = send
        self._sent = self._wanted = self._arrived = self._back = 0
        self._expected: dict[str, int] = {}

    def ask(self) -> int:
        """Return the number of a message that leaves after now."""
        wanted = self._sent + 1
        self._wanted = wanted
        if self._back == self._sent:
            self._leave()
        return wanted

    def _leave(self) -> None:
        self._sent += 1
        self._send(self._sent)

    def expect(self, sender: str, number: int, folded: Mapping[str, int]) -> None:
        """Note a copy of what the journal will bring, or has brought."""
        if folded.get(sender, -1) < number:
            self._expected[sender] = number
            if len(self._expected) > SENDERS:
                del self._expected[next(iter(self._expected))]

    def arrive(self, number: int) -> None:
        """Note that a message came back."""
        self._arrived = number

    def check(self, folded: Mapping[str, int]) -> None:
        """Let those go on who wait for the message that came back, if the journal is as far as that."""
        if self._expected:
            self._expected = {s: n for s, n in self._expected.items() if folded.get(s, -1) < n}
        if not self._expected:
            self.give_up(self._arrived)

    def give_up(self, number: int) -> None:
        """Let them go on anyway: what was sent to the journal may never have arrived there."""
        if self._back < number == self._arrived:
            self._expected = {}
            self._back = number
            if self._wanted > number:
                self._leave()

    def passed(self, number: int) -> bool:
        """Tell whether it is through."""
        return self._back >= number

    def reset(self) -> None:
        """Begin anew with a new connection."""
        self._back = self._arrived = self._wanted = self._sent
        self._expected = {}
