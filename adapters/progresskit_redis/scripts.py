"""The Lua that runs in the server, and one call of it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from progresskit.backends.prompt import Script

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

    def by_text(self) -> tuple[bytes | str | int, ...]:
        """Return the command for one that does not; it does from then on."""
        return (b"EVAL", self.script.text, len(self.keys), *self.keys, *self.arguments)


@cache
def script(name: str) -> Script:
    """Return the script of a file in the folder beside this module, after what it shares with others."""
    text = b"\n".join(TEXTS[f"{part}.lua"] for part in (*SHARED.get(name, ("job",)), name))
    return Script.of(text)
