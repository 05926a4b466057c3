"""An output stream for text: drawn with rich in a terminal, plain lines elsewhere and where rich is not installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rich.console import Console as RichConsole
    from rich.text import Text

HINT = 'for bars in the terminal: pip install "progresskit[cli]"'


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
    """
    An output stream for text, and its capabilities.

    `rich` is None where lines cannot be drawn in place; then `hint` says why if that can be helped, else it is None.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.stream, self._write = stream, stream.write  # an overlay replaces the method of the stream by its own
        self.glyphs = _UNICODE if _can_encode(stream, _UNICODE) else _ASCII
        is_terminal = stream.isatty() and environ.get("TERM") != "dumb"
        self.rich = _rich_console(stream, has_colours=not environ.get("NO_COLOR")) if is_terminal else None
        self.hint = HINT if is_terminal and self.rich is None else None

    def write(self, text: str) -> None:
        """Write and flush; characters that the stream cannot encode become `?`."""
        encoding = self.stream.encoding or "utf-8"
        self._write(text.encode(encoding, "replace").decode(encoding))
        self.stream.flush()

    def line(self, *parts: str | tuple[str, str], is_cut: bool = False) -> None:
        """Write a line of texts, each plain or with its style; a terminal breaks a long one unless `is_cut`."""
        if self.rich is None:
            self.write("".join(part if isinstance(part, str) else part[0] for part in parts) + "\n")
            return
        from rich.text import Text

        line = Text.assemble(*parts)
        if is_cut:
            line.truncate(self.size[0] - 1, overflow="ellipsis")
        self.write(f"{self.rendered(line)}\n")

    def rendered(self, text: Text) -> str:
        """Return a line as the terminal takes it."""
        assert self.rich is not None
        with self.rich.capture() as captured:
            self.rich.print(text, soft_wrap=True, end="")
        return captured.get()

    @property
    def size(self) -> tuple[int, int]:
        """The present columns and lines; 80 by 24 where they are unknown."""
        try:
            columns, lines = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return columns or 80, lines or 24


def device_of(stream: TextIO | None) -> int | None:
    """Return the number of the terminal that a stream writes to; None where it is none."""
    try:
        return os.fstat(stream.fileno()).st_rdev if stream is not None and stream.isatty() else None
    except (OSError, ValueError, AttributeError):
        return None


def _rich_console(stream: TextIO, *, has_colours: bool) -> RichConsole | None:
    try:
        from rich.console import Console
    except ImportError:
        return None
    # The sixteen colours of the terminal itself: its user has chosen readable ones, on a dark or a light background.
    colours: Any = "standard" if has_colours else None
    return Console(file=stream, force_terminal=True, color_system=colours, highlight=False, legacy_windows=False)


def _can_encode(stream: TextIO, glyphs: Glyphs) -> bool:
    try:
        "".join((*glyphs.states.values(), glyphs.full, glyphs.spinner, glyphs.ellipsis)).encode(stream.encoding or "")
    except (UnicodeError, LookupError):
        return False
    return True
