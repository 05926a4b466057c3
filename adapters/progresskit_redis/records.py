"""Records on their way into the scripts, and out of them."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from progresskit.decoding import decode, undecoded
from progresskit.parts import Tally
from progresskit.progress import Role, State, Stored, Version

if TYPE_CHECKING:
    from progresskit.parts import Report
    from progresskit.progress import Progress, Write

_STATES = {state.value: state for state in State}


def head(write: Write) -> bytes:
    """Return all of a write but its id and body, as the scripts take it; no word may be empty or have a space in it."""
    token = word(write.token) if write.role is not Role.DECLARE else "-"
    declared = "-"
    if write.declaration is not None:
        declaring, size, weight, offset, keeps_texts = write.declaration
        counts = f"{'-' if size is None else size},{'-' if weight is None else weight}"
        declared = f"{word(declaring)},{counts},{offset!r},{keeps_texts:d}"
    return (
        f"{write.role._value_} {max(write.run, 1)} {write.lease!r} {write.ttl!r} "
        f"{write.age!r} {write.late:d} {write.created} {declared} "
        f"{write.attempt} {write.seq} {write.state} {token} {marked(write.kind)}"
    ).encode()


def report_words(report: Report) -> bytes:
    """Return the report of a part as the scripts take it: by the digest of the part's name."""
    name = report.name.encode()
    return (
        f"{crc32(name)} {blake2b(name, digest_size=12).hexdigest()} {word(report.token)} {word(report.run_token)} "
        f"{report.state.value} {report.weight} {report.hundredths} {report.lease!r} {report.ttl!r} "
        f"{report.age!r} {report.is_start:d} {report.late:d} {report.created}"
    ).encode()


def word(text: str | None) -> str:
    """Return a token as the scripts take it."""
    return ("_".join(text.split()) if text else "") or "-"


def marked(kind: str | None) -> str:
    """Return a kind as the scripts take it: an empty one is another than none."""
    return "" if kind is None else f"={kind}"


def id_of(packed: bytes) -> str:
    """Return the id of a record that a script has packed."""
    return packed.partition(b" ")[0].decode(errors="replace")


def unpack(packed: bytes) -> Progress:
    """Return the record that a script has packed; raises an error of any kind where it cannot be decoded."""
    head, tally, override, body = packed.decode(errors="replace").rsplit("\x1f", 3)
    id, stalled, run, cancel, dates, attempt, seq, state, rest = head.split(" ", 8)
    created, born = _dates(dates)
    version, is_stalled, is_cancelling = Version(int(run), int(attempt), int(seq)), stalled == "1", cancel == "1"
    if not override and not tally:
        record = undecoded(body, id, _STATES[state], version, is_stalled, is_cancelling, created, born)
        if record is not None:
            return record
    token = None if rest.startswith("- ") else "?"  # which one it is concerns the writer alone
    known = (*version, token, _STATES[state], body, override or None, created, is_cancelling)
    return decode(Stored(*known, born=born, tally=_tally(tally) if tally else None), is_stalled, id)


@lru_cache(4_096)
def _dates(packed: str) -> tuple[str | None, int]:
    """Return when the run was first heard of, and when the id was: the same for all records of a run."""
    created, _, born = packed.partition("@")
    return None if created == "-" else created, int(born or 0)


def _tally(text: str) -> Tally:
    """Return the sums that a script has packed: texts, whole numbers and seconds, '-' for None."""
    return Tally.load(None if each == "-" else each for each in text.split(" "))
