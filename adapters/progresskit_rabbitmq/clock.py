"""
The broker's clock, by which all processes judge leases and ttls.

AMQP has no question for the time. But a broker writes it, in whole seconds, on a message that it takes from a queue
where its time has run out, and a message may be given no time at all. Each such answer says that, in between question
and answer, the clock stood within one second; further ones, asked when it is about to turn to the next, say it more
closely.
"""

from __future__ import annotations

from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any

from .connection import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Connection, Script

TIME = "time"
"""The type of the messages that ask."""

CLOSE = 0.05
"""How closely the time is to be known, in seconds."""

QUESTIONS = 8
"""How many at most are asked for that, about one a second, on a new connection."""

ASKED_SECONDS = 60.0
"""How often is asked after that."""

ANSWER_SECONDS = 0.5
"""How long a question may take before the next is planned."""

DRIFT = 1e-4
"""By how much two clocks may run apart, in seconds a second."""


class BrokerClock:
    """Seconds since the epoch by the broker's clock, kept up by this process's monotonic one."""

    def __init__(self) -> None:
        self._least = float("-inf")
        self._most = float("inf")
        self._answered = 0.0
        self._offset: float | None = None

    def sample(self, asked: float, seconds: float, answered: float) -> None:
        """Take an answer in; `asked` and `answered` are of the monotonic clock."""
        least, most = seconds - answered, seconds + 1 - asked
        drift = (answered - self._answered) * DRIFT
        self._least, self._most = max(self._least - drift, least), min(self._most + drift, most)
        if self._least > self._most:  # one of the clocks was set
            self._least, self._most = least, most
        self._answered = answered
        self._offset = (self._least + self._most) / 2

    @property
    def uncertainty(self) -> float:
        """How far the time may be from what is taken for it, in seconds, either way."""
        return (self._most - self._least) / 2

    def at(self, now: float) -> float:
        """Return the time at a moment of the monotonic clock; only once it is known."""
        assert self._offset is not None
        return now + self._offset

    def until_turn(self, now: float) -> float:
        """Return in how many seconds it may as well have turned to the next second as not: the moment to ask at."""
        time = self.at(now) if self._offset is not None else 0.0
        return ceil(time) - time


class Timekeeper:
    """Asks for the time on each connection, through that exchange; not at all where a clock is given."""

    def __init__(self, clock: Callable[[], float] | None, exchange: str) -> None:
        self._given, self._exchange = clock, exchange
        self._clock = BrokerClock()
        self._questions = 0
        self._on_time: Callable[[Any], None] | None = None

    def now(self) -> float:
        """Return the time; only once a connection was made."""
        return self._given() if self._given is not None else self._clock.at(monotonic())

    def begin(self, connection: Connection, inbox: str) -> Script:
        """Learn the time, which comes to that queue, and ask again and again while the connection lasts."""
        if self._given is None:
            self._questions = 0
            yield lambda done: self._begin(connection, inbox, done)

    def _begin(self, connection: Connection, inbox: str, done: Callable[[Any], None]) -> None:
        self._on_time = done
        self._ask(connection, inbox)

    def _ask(self, connection: Connection, inbox: str) -> None:
        self._questions += 1
        connection.publish([Outgoing(self._exchange, inbox, TIME, repr(monotonic()).encode(), False)])
        connection.ioloop.call_later(ANSWER_SECONDS, lambda: self._plan(connection, inbox))

    def _plan(self, connection: Connection, inbox: str) -> None:
        known = self._clock.uncertainty <= CLOSE or self._questions >= QUESTIONS
        wait = self._clock.until_turn(monotonic()) + (ASKED_SECONDS if known else 0)
        connection.ioloop.call_later(wait, lambda: self._ask(connection, inbox))

    def take(self, properties: Any, body: bytes) -> None:
        """Take an answer in: our question, with the time of its death."""
        died = properties.headers["x-death"][0]["time"].timestamp()
        self._clock.sample(float(body), died, monotonic())
        on_time, self._on_time = self._on_time, None
        if on_time is not None:
            on_time(None)

    def forget(self) -> None:
        """Wait for no answer any more: the connection is lost."""
        self._on_time = None
