"""
The broker's clock, by which all processes judge leases and ttls.

AMQP has no question for the time. But a broker writes it, in whole seconds, on a message that it takes from a queue
where its time has run out, and a message may be given no time at all. Each such answer says that, in between question
and answer, the clock stood within one second; further ones, asked when it is about to turn to the next, say it more
closely.
"""

from __future__ import annotations

from math import ceil, inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from .connection import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Connection, Script

TIME = "time"
"""The type of the messages that ask."""

CLOSE = 0.05
"""How closely the time is to be known, in seconds; until it is, the broker is asked about once a second."""

ASKED_SECONDS = 60.0
"""How often is asked after that."""

ANSWER_SECONDS = 0.5
"""How long a question may take before the next is planned."""

DRIFT = 1e-4
"""By how much two clocks may run apart, in seconds a second."""


class BrokerClock:
    """Seconds since the epoch by the broker's clock, kept up by this process's monotonic one, or by a given clock."""

    def __init__(self, exchange: str = "", given: Callable[[], float] | None = None) -> None:
        self._exchange, self._given = exchange, given
        self._least, self._most, self._answered = -inf, inf, 0.0
        self._on_time: Callable[[Any], None] | None = None

    def now(self) -> float:
        """Return the time; only once a connection was made."""
        return self._given() if self._given is not None else self.at(monotonic())

    def at(self, now: float) -> float:
        """Return the time at a moment of the monotonic clock."""
        return now + (self._least + self._most) / 2

    @property
    def uncertainty(self) -> float:
        """How far the time may be from what is taken for it, in seconds, either way."""
        return (self._most - self._least) / 2

    def sample(self, asked: float, seconds: float, answered: float) -> None:
        """Take an answer in; `asked` and `answered` are of the monotonic clock."""
        least, most = seconds - answered, seconds + 1 - asked
        drift = (answered - self._answered) * DRIFT
        self._least, self._most = max(self._least - drift, least), min(self._most + drift, most)
        if self._least > self._most:  # one of the clocks was set
            self._least, self._most = least, most
        self._answered = answered

    def pause(self, now: float) -> float:
        """Return in how many seconds to ask next: when the broker's clock may as well have turned as not."""
        time = self.at(now) if self._answered else 0.0
        return ceil(time) - time + (ASKED_SECONDS if self.uncertainty <= CLOSE else 0)

    def begin(self, connection: Connection, inbox: str) -> Script:
        """Learn the time, which comes to that queue, and ask again and again while the connection lasts."""
        if self._given is None:
            yield lambda done: self._begin(connection, inbox, done)

    def _begin(self, connection: Connection, inbox: str, done: Callable[[Any], None]) -> None:
        self._on_time = done
        self._ask(connection, inbox)

    def _ask(self, connection: Connection, inbox: str) -> None:
        def plan() -> None:
            connection.ioloop.call_later(self.pause(monotonic()), lambda: self._ask(connection, inbox))

        connection.publish([Outgoing(self._exchange, inbox, TIME, repr(monotonic()).encode())])
        connection.ioloop.call_later(ANSWER_SECONDS, plan)

    def take(self, properties: Any, body: bytes) -> None:
        """Take an answer in: our question, with the time of its death."""
        self.sample(float(body), properties.headers["x-death"][0]["time"].timestamp(), monotonic())
        on_time, self._on_time = self._on_time, None
        if on_time is not None:
            on_time(None)
