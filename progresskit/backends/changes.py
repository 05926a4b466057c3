"""
What processes send each other over a broker: written records, requests to cancel, removals, and reports of parts, as
JSON.

A backend puts an envelope of its own around them.
"""

from __future__ import annotations

from json import JSONEncoder
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from progresskit.decoding import check_report, check_write, decode_each
from progresskit.errors import BackendError
from progresskit.parts import Declaration, Report
from progresskit.progress import ID_LENGTH, Role, State, Write
from progresskit.record_store import Tombstone, tombstones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Item = TypeVar("Item")

OVERHEAD = 300
"""About how many characters a record takes beside its body."""

LATER = len(Write._fields) - Write._fields.index("lease")
"""How many fields stand behind the body: a sender of another version may send fewer, or more."""

ROLES = {role.value: role for role in Role}
STATES = {state.value: state for state in State}

_encode = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Changes(NamedTuple):
    """The content of a message: records to fold, ids of jobs to cancel, jobs to forget, and reports to fold."""

    writes: Sequence[Write] = ()
    cancels: Sequence[str] = ()
    forgets: Sequence[Tombstone] = ()
    reports: Sequence[Report] = ()

    def pack(self) -> list[Any]:
        """Return the changes as `encode` takes them."""
        rows = [(write.id, write.role.value, *write[2:-1], None) for write in self.writes]  # a report goes by itself
        return [rows, [*self.cancels], [*self.forgets], *([[*self.reports]] if self.reports else [])]

    def without_parts(self) -> Changes:
        """Return the changes without all that concerns the parts of jobs."""
        if not self.reports and not any(write.declaration for write in self.writes):
            return self
        writes = [write._replace(declaration=None) for write in self.writes if write.role is not Role.DECLARE]
        return self._replace(writes=writes, reports=())

    @classmethod
    def unpack(cls, packed: Sequence[Any]) -> Changes:
        """
        Read decoded changes.

        Records, ids and removals that cannot be read are left out, so that the others are folded all the same. Raises
        ValueError or TypeError if the changes themselves are malformed.
        """
        rows, cancels, *later = packed
        writes = unpack_each(rows, _unpack_write)
        reports = unpack_each(later[1], _unpack_report) if len(later) > 1 else ()
        return cls(writes, [id for id in cancels if type(id) is str], tombstones(later[0]) if later else (), reports)


def _unpack_write(row: Any) -> Write:
    id, role, token, run, attempt, seq, state, kind, body, *later = row
    write = Write(id, ROLES[role], token, run, attempt, seq, STATES[state], kind, body, *later[:LATER])
    packed: Any = write.declaration
    declaration = packed and Declaration(*packed[: len(Declaration._fields)])
    return check_write(write._replace(declaration=declaration, report=None))


def _unpack_report(row: Any) -> Report:
    parent, name, token, run_token, state, *later = row[: len(Report._fields)]
    return check_report(Report(parent, name, token, run_token, STATES[state], *later))


def unpack_each(rows: Iterable[Any], unpack: Callable[[Any], Item]) -> list[Item]:
    """Return those rows that can be read; the others are logged by their id."""
    found = (decode_each(_id(row), unpack, row) for row in rows)
    return [item for item in found if item is not None]


def _id(row: Any) -> str:
    return str(row[0])[:ID_LENGTH] if type(row) is list and row else "?"


def encode(message: Sequence[Any]) -> bytes:
    """Return a message as JSON; raises BackendError for numbers and texts that JSON in UTF-8 cannot hold."""
    try:
        return _encode(message).encode()
    except (UnicodeEncodeError, ValueError) as error:
        raise BackendError(f"a record cannot be written as JSON in UTF-8: {error}") from error


def portions(items: Iterable[Item], length: Callable[[Item], int], limit: int) -> Iterator[list[Item]]:
    """
    Divide records among messages, in their order.

    A message holds at most `limit` characters, or a single record that is longer.
    """
    portion, size = list[Item](), 0
    for item in items:
        if portion and size + length(item) > limit:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += length(item) + OVERHEAD
    if portion:
        yield portion
