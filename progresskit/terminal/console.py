"""The capabilities of an output stream."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

# The sixteen colours of the terminal itself: its user has chosen readable ones, on a dark or a light background.
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


class Glyphs(NamedTuple):
    """The characters that bars are drawn with."""

    full: str
    half: str
    rest: str
    spinner: str
    states: Mapping[str, str]
    ellipsis: str
    dot: str


_UNICODE = Glyphs(
    full="━",
    half="╸",
    rest="─",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
    states={
        "unknown": "·", "pending": "○", "running": "●", "retrying": "↻", "stalled": "!", "cancelling": "◌",
        "succeeded": "✔", "failed": "✘", "cancelled": "■", "stopped early": "■",
    },
    ellipsis="…",
    dot=" · ",
)  # fmt: skip
_ASCII = Glyphs(
    full="#",
    half="",
    rest="-",
    spinner="|/-\\",
    states={
        "unknown": ".", "pending": "o", "running": "*", "retrying": "~", "stalled": "!", "cancelling": "x",
        "succeeded": "+", "failed": "X", "cancelled": "x", "stopped early": "x",
    },
    ellipsis="...",
    dot=" | ",
)  # fmt: skip


class Console:
    """An output stream for text, and its capabilities."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._stream, self._write = stream, stream.write  # an overlay replaces the method of the stream by its own
        self.live = stream.isatty() and environ.get("TERM") != "dumb"
        """Lines can be drawn again in place."""
        self.colour = self.live and not environ.get("NO_COLOR")
        self.glyphs = _UNICODE if _can_encode(stream, _UNICODE) else _ASCII

    def paint(self, text: str, *styles: str) -> str:
        """Return the text in these colours, where there are colours."""
        if not self.colour or not text.strip():
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"

    def write(self, text: str) -> None:
        """Write and flush; characters that the stream cannot encode become `?`."""
        encoding = self._stream.encoding or "utf-8"
        self._write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()

    def line(self, text: str = "") -> None:
        """Write a line."""
        self.write(f"{text}\n")

    @property
    def stream(self) -> TextIO:
        """The stream itself."""
        return self._stream

    def wait_until_writable(self, seconds: float) -> bool:
        """
        Return False if a write would still wait after this time.

        It waits for a moment while another process writes, and for long after Ctrl-S.
        """
        try:
            return bool(select.select((), (self._stream,), (), seconds)[1])
        except (OSError, ValueError):
            return True

    @property
    def size(self) -> tuple[int, int]:
        """The present columns and lines; 80 by 24 where they are unknown."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return columns or 80, lines or 24


def device_of(stream: TextIO | None) -> int | None:
    """Return the number of the terminal that a stream writes to; None where it is none."""
    try:
        return os.fstat(stream.fileno()).st_rdev if stream is not None and stream.isatty() else None
    except (OSError, ValueError, AttributeError):
        return None


def _can_encode(stream: TextIO, glyphs: Glyphs) -> bool:
    try:
        "".join((*glyphs.states.values(), glyphs.full, glyphs.spinner, glyphs.ellipsis)).encode(stream.encoding or "")
    except (UnicodeError, LookupError):
        return False
    return True
