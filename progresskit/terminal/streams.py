"""
The standard streams of a process, with text that goes through an overlay of bars.

Their methods `write` and `flush` are replaced, so that it does not matter which code holds the stream, such as a
handler of logging.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from .console import device_of

if TYPE_CHECKING:
    from collections.abc import Callable

_MOVES_CURSOR = re.compile(r"[\n\r\x1b]")


class Sink(Protocol):
    """The overlay, as far as a stream needs it."""

    def write(self, write: Callable[[str], object], flush: Callable[[], object], text: str) -> None:
        """Write text above the bars by these methods of its stream."""


def overlay_streams(device: int, sink: Sink) -> None:
    """Have the standard streams that write to a terminal write through an overlay."""
    standard = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    streams = {id(stream): stream for stream in standard if stream is not None and device_of(stream) == device}
    for stream in streams.values():
        try:
            stream.write = _overlaid(stream, sink)  # type: ignore[method-assign]
        except AttributeError:
            pass  # a stream of a kind that allows no attributes: its text may end in a bar


def _overlaid(stream: TextIO, sink: Sink) -> Callable[[Any], int]:
    original, flush = stream.write, stream.flush
    # Such a stream keeps text until its line ends, or until it is flushed.
    has_buffer = getattr(stream, "line_buffering", False) and not getattr(stream, "write_through", False)

    def write(text: Any) -> int:
        is_other = not isinstance(text, str) or not text or (has_buffer and not _MOVES_CURSOR.search(text))
        if is_other or sys.is_finalizing():
            return original(text)  # at the end, a thread that was stopped may hold the lock of the overlay
        sink.write(original, flush, text)
        return len(text)

    return write
