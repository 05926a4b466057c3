"""What a process says, and those of its threads who wait until it comes back and has taken effect."""

from __future__ import annotations

from itertools import count
from threading import Event, Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .wire import Act, Message, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.errors import BackendUnavailable

    from .road import Mouth


class Call:
    """Somebody who waits for what was said to come back."""

    def __init__(self) -> None:
        self.back = Event()
        self.answer: Any = None
        self.error: BackendUnavailable | None = None

    def end(self, answer: Any = None, error: BackendUnavailable | None = None) -> None:
        """Let it wait no longer."""
        self.answer, self.error = answer, error
        self.back.set()


class Calls:
    """Numbers what is said, and knows who waits for it."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth
        self._speaking = Lock()
        self._waiting: dict[tuple[str, int], Call] = {}
        self._name = uuid4().hex
        self._said, self._pings = count(1), count(1)

    def say(self, act: Act, content: Any, check: Callable[[], None]) -> Call:
        """Say something; `check` raises if it must not be said any more."""
        call = Call()
        with self._speaking:
            number = -next(self._pings) if act is Act.PING else next(self._said)
            key = self._name, number
            self._waiting[key] = call
            try:
                check()
                self._mouth.say(encode(Message(*key, act, content)), privately=act is Act.PING)
            except BaseException:
                self._waiting.pop(key, None)
                self._rename()
                raise
        return call

    def _rename(self) -> None:
        # What could not be said leaves a gap in the numbers, which would have everybody ask what they have missed.
        self._name, self._said = uuid4().hex, count(1)

    def came_back(self, message: Message) -> Call | None:
        """Return who waits for a message; None if it is not one of ours."""
        return self._waiting.pop((message.station, message.number), None)

    def fail(self, error: BackendUnavailable) -> None:
        """Tell all who wait that it does not come back."""
        for key in list(self._waiting):
            call = self._waiting.pop(key, None)
            if call is not None:
                call.end(error=error)
