"""Records on their way into the scripts, and out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.decoding import decode, decode_each
from progresskit.progress import State, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable

    from progresskit.progress import Progress, Write

DECODED = 2_048
"""How many records that came in are remembered, so that one that comes again unchanged is not decoded again."""


def head(write: Write) -> bytes:
    """Return all of a write but its id and body, as the scripts take it; no word may be empty or have a space in it."""
    token = "_".join(write.token.split()) if write.token else ""
    return (
        f"{write.role.value} {max(write.run, 1)} {write.lease!r} {write.ttl!r} "
        f"{write.age!r} {write.late:d} {write.created} "
        f"{write.attempt} {write.seq} {write.state.value} {token or '-'} {marked(write.kind)}"
    ).encode()


def marked(kind: str | None) -> str:
    """Return a kind as the scripts take it: an empty one is another than none."""
    return "" if kind is None else f"={kind}"


def unpack(packed: bytes) -> Progress | None:
    """Return the record that a script has packed; None where it cannot be decoded."""
    return decode_each(_id(packed), _unpack, packed)


def _id(packed: bytes) -> str:
    return packed.partition(b" ")[0].decode(errors="replace")


def _unpack(packed: bytes) -> Progress:
    head, verdict, body = packed.decode(errors="replace").rsplit("\x1f", 2)
    id, stalled, run, cancel, dates, attempt, seq, state, _ = head.split(" ", 8)
    created, _, born = dates.partition("@")
    stored = Stored(
        run=int(run),
        attempt=int(attempt),
        seq=int(seq),
        token=None,  # it is nobody's business but the writer's
        state=State(state),
        body=body,
        verdict=verdict or None,
        created=None if created == "-" else created,
        cancel_requested=cancel == "1",
        born=int(born or 0),
    )
    return decode(stored, stalled == "1", id)


class Decoded:
    """Remembers what was decoded."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, Progress]] = {}

    def records(self, packed: Iterable[bytes]) -> list[Progress]:
        """Return those of the records that scripts have packed which can be decoded."""
        return [record for each in packed if (record := self._record(each)) is not None]

    def _record(self, packed: bytes) -> Progress | None:
        id = _id(packed)
        known = self._known.get(id)
        if known is not None and known[0] == packed:
            return known[1]
        if len(self._known) >= DECODED:
            self._known.clear()
        progress = unpack(packed)
        if progress is not None:
            self._known[id] = packed, progress
        return progress

    def clear(self) -> None:
        """Remember nothing."""
        self._known.clear()
