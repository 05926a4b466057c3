"""Records on their way into the scripts, and out of them."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from progresskit.decoding import decode, report_undecodable
from progresskit.parts import Tally
from progresskit.progress import Role, State, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable

    from progresskit.parts import Report
    from progresskit.progress import Progress, Write


def head(write: Write) -> bytes:
    """Return all of a write but its id and body, as the script takes it; no word may be empty or have a space in it."""
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
    """Return the report of a part as the script takes it: by the digest of the part's name."""
    name = report.name.encode()
    return (
        f"{crc32(name)} {blake2b(name, digest_size=12).hexdigest()} {word(report.token)} {word(report.run_token)} "
        f"{report.state.value} {report.weight} {report.hundredths} {report.lease!r} {report.ttl!r} "
        f"{report.age!r} {report.is_start:d} {report.late:d} {report.created}"
    ).encode()


def word(text: str | None) -> str:
    """Return a token as the script takes it."""
    return ("_".join(text.split()) if text else "") or "-"


def marked(kind: str | None) -> str:
    """Return a kind as the script takes it: an empty one is another than none."""
    return "" if kind is None else f"={kind}"


def unpacked(packed: Iterable[bytes]) -> list[Progress]:
    """Return the records that the script has packed; one that cannot be decoded is absent, and logged once."""
    records: list[Progress] = []
    for each in packed:
        try:
            records.append(_unpacked(each.decode(errors="replace")))
        except Exception as error:  # of any kind
            report_undecodable(each.partition(b" ")[0].decode(errors="replace"), error)
    return records


def _unpacked(packed: str) -> Progress:
    head, tally, override, body = packed.rsplit("\x1f", 3)
    id, stalled, run, cancel, dates, attempt, seq, state, token, _ = head.split(" ", 9)
    created, born = _dates(dates)
    # Which token it is concerns the writer alone.
    known = (int(run), int(attempt), int(seq), None if token == "-" else "?", State(state), body, override or None)
    stored = Stored(*known, created, cancel == "1", born=born, tally=_tally(tally) if tally else None)
    return decode(stored, stalled == "1", id)


@lru_cache(4_096)
def _dates(packed: str) -> tuple[str | None, int]:
    """Return when the run was first heard of, and when the id was: the same for all records of a run."""
    created, _, born = packed.partition("@")
    return None if created == "-" else created, int(born or 0)


def _tally(text: str) -> Tally:
    """Return the sums that a script has packed: texts, whole numbers and seconds, '-' for None."""
    return Tally.load(None if each == "-" else each for each in text.split(" "))
