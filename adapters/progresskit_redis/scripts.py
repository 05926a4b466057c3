"""The Lua that runs in the server, and one call of it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, Self

from progresskit.backends.prompt import Script, packed, packed_words

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = {file.name: file.read_bytes() for file in files(__package__).joinpath("lua").iterdir()}
"""Read before any thread needs them, since that imports modules."""

SHARED = {
    "home": (),
    "write": ("job", "parts", "store"),
    "open": ("job", "store"),
    "cancel": ("job", "parts"),
    "forget": ("job", "parts"),
}
"""What a script has before its own text; each that is not named here has what all have, `job`."""


class Call(NamedTuple):
    """
    A script and its arguments; the keys are all of one slot.

    Keys and arguments are bytes where that matters, so that the encoding of a client that was given does not.
    """

    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[bytes | str | int]

    def by_hash(self) -> tuple[bytes | str | int, ...]:
        """Return the command for a server that knows the script."""
        return (b"EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.arguments)

    def packed(self) -> bytes:
        """Return that command as it is sent."""
        return packed(self.by_hash())

    def by_text(self) -> tuple[bytes | str | int, ...]:
        """Return the command for one that does not; it does from then on."""
        return (b"EVAL", self.script.text, len(self.keys), *self.keys, *self.arguments)


class RepeatedCall(NamedTuple):
    """One of many calls that differ in their last arguments only; the others, and `start`, are packed once for all."""

    first: Call
    start: bytes
    last: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, first: Call, changing: int) -> Self:
        """Return the call without its last arguments, of which there are so many."""
        return cls(first, packed(first.by_hash(), changing))

    def ending(self, *arguments: bytes) -> RepeatedCall:
        """Return the call with these arguments at its end."""
        return RepeatedCall(self.first, self.start, arguments)

    def packed(self) -> bytes:
        """Return the command for a server that knows the script, as it is sent."""
        return self.start + packed_words(self.last)

    def by_text(self) -> tuple[bytes | str | int, ...]:
        """Return the command for one that does not."""
        return (*self.first.by_text(), *self.last)


@cache
def script(name: str) -> Script:
    """Return the script of a file in the folder beside this module, after what it shares with others."""
    text = b"\n".join(TEXTS[f"{part}.lua"] for part in (*SHARED.get(name, ("job",)), name))
    return Script.of(text)
