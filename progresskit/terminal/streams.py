"""
The standard streams of a process, with text that goes through an overlay of bars.

Their methods `write` and `flush` are replaced, so that it does not matter which code holds the stream, such as a
handler of logging. `print` writes a line and its end one after the other: the line is held until then, as another
thread or process may write in between. A stream without a buffer holds it for a moment only.
"""

from __future__ import annotations

import re
import sys
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

from .console import device_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOT_HELD = re.compile(r"[\n\r\x1b]")


class Sink(Protocol):
    """The overlay, as far as a stream needs it."""

    def write(self, stream: OverlaidStream, text: str, *, can_wait: bool) -> bool:
        """Write text above the bars; return False for text that is to be held, which is one that `can_wait`."""

    def start_thread(self) -> None:
        """Have text that is held released soon."""


class _Held(NamedTuple):
    text: str
    at: float


class OverlaidStream:
    """A stream that writes to the terminal of an overlay; `clock` returns seconds."""

    def __init__(self, stream: TextIO, sink: Sink, clock: Callable[[], float]) -> None:
        self._sink, self._clock = sink, clock
        self._write, self._flush = stream.write, stream.flush
        self._has_buffer = _has_buffer(stream)
        self._held: dict[int, _Held] = {}
        """The beginning of a line that a thread has written, by threads."""
        stream.write = self.write  # type: ignore[method-assign]
        stream.flush = self.flush  # type: ignore[method-assign]

    def write(self, text: Any) -> int:
        """Write as the stream does, above the bars."""
        if sys.is_finalizing() or not isinstance(text, str) or not text:
            return self._write(text)  # at the end, a thread that was stopped may hold the lock of the overlay
        whole = self._take() + text
        if not self._sink.write(self, whole, can_wait=_NOT_HELD.search(whole) is None):
            self._held[get_ident()] = _Held(whole, self._clock())
            if not self._has_buffer:
                self._sink.start_thread()
        return len(text)

    def flush(self) -> None:
        """Write the text that this thread has written, and flush the stream."""
        text = self._take()
        if text:
            self._sink.write(self, text, can_wait=False)
        self._flush()

    def write_through(self, text: str, *, flush: bool) -> None:
        """Write to the stream itself."""
        self._write(text)
        if flush:
            self._flush()

    @property
    def has_to_release(self) -> bool:
        """True while text is held that the stream would have written by itself."""
        return bool(self._held) and not self._has_buffer

    def release(self, seconds: float) -> None:
        """Write the text that has been held for these seconds."""
        for thread, held in [*self._held.items()]:
            if self._clock() - held.at >= seconds and self._held.pop(thread, None) is not None:
                self._sink.write(self, held.text, can_wait=False)

    def after_fork_in_child(self) -> None:
        """Forget the text that is held: the process that this one was forked from writes it."""
        self._held = {}

    def _take(self) -> str:
        held = self._held.pop(get_ident(), None)
        return "" if held is None else held.text


def _has_buffer(stream: TextIO) -> bool:
    """Return whether the stream keeps text without a newline until it is flushed."""
    return getattr(stream, "line_buffering", False) and not getattr(stream, "write_through", False)


def overlay_streams(device: int, sink: Sink, clock: Callable[[], float]) -> list[OverlaidStream]:
    """Have the standard streams that write to a terminal write through an overlay."""
    streams = {id(stream): stream for stream in _standard_streams() if device_of(stream) == device}
    overlaid = []
    for stream in streams.values():
        try:
            overlaid.append(OverlaidStream(stream, sink, clock))
        except AttributeError:
            pass  # a stream of a kind that allows no attributes: its text may end in a bar
    return overlaid


def _standard_streams() -> Iterator[TextIO]:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            yield stream
