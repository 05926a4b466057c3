"""
The fold as upserts of many rows: `progresskit.progress.fold`, decided by the database.

The statements are in worker.sql and external.sql, and their repeated conditions are named here: in them `stored` is
the row that is there, and `excluded`, as SQL has it, the one that is written.
"""

from __future__ import annotations

from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any

from progresskit.progress import SKEW_SECONDS, Role, restores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from progresskit.progress import Write

SIZES = [1 << power for power in range(9)]
"""How many rows a statement writes: the powers of two make up batches of any size, and are prepared once each."""

COLUMNS = 14

EXPIRED = "(stored.expires_at <= excluded.heard_at)"
FINAL = "(stored.state IN ('succeeded', 'failed', 'cancelled'))"
OWN = f"(NOT {EXPIRED} AND stored.token IS excluded.token)"
REPEATED = f"({OWN} AND (stored.attempt, stored.seq) = (excluded.attempt, excluded.seq))"
AWAITED = "(stored.state = 'pending' AND stored.attempt <= excluded.attempt)"
RETRIED = f"(NOT {FINAL} AND stored.attempt < excluded.attempt)"
SAME_RUN = f"(NOT {EXPIRED} AND ({OWN} OR {AWAITED} OR {RETRIED}))"
CREATED_AT = "CASE WHEN json_valid(stored.body) THEN json_extract(stored.body, '$.created_at') END"
"""An undecodable body has none, and must not keep the job from being written again."""
NO_OLDER = f"(excluded.opened_at >= stored.opened_at OR stored.opened_at > excluded.heard_at + {SKEW_SECONDS})"
FOLLOWS = "(stored.restored AND excluded.opened_at > stored.opened_at)"

WORKER = {
    "expired": EXPIRED,
    "final": FINAL,
    "own": OWN,
    "repeated": REPEATED,
    "same_run": SAME_RUN,
    "created_at": CREATED_AT,
}
EXTERNAL = {"expired": EXPIRED, "final": FINAL, "no_older": NO_OLDER}

FORMS: dict[tuple[Role, bool], tuple[str, Mapping[str, str]]] = {
    (Role.START, False): ("worker", WORKER | {"takes_over": "TRUE"}),
    (Role.START, True): ("worker", WORKER | {"takes_over": f"({AWAITED} OR {NO_OLDER})"}),
    (Role.UPDATE, False): ("worker", WORKER | {"takes_over": f"({AWAITED} OR {FOLLOWS})"}),
    (Role.UPDATE, True): (
        "worker",
        WORKER | {"takes_over": f"(({AWAITED} AND {NO_OLDER}) OR {FOLLOWS})"},
    ),
    (Role.EXTERNAL, False): ("external", EXTERNAL | {"late": "0"}),
    (Role.EXTERNAL, True): ("external", EXTERNAL | {"late": "1"}),
}
"""The statement for a role, and for whether the write is late; see `progresskit.progress.Write`."""


class Upserts:
    """The statements for one table."""

    def __init__(self, table: str) -> None:
        row = f"({', '.join('?' * COLUMNS)})"
        self._sql = {
            (*form, size): text(name).format(table=table, rows=", ".join([row] * size), **conditions)
            for form, (name, conditions) in FORMS.items()
            for size in SIZES
        }

    def of(self, batch: Sequence[Write], now: float) -> Iterator[tuple[str, list[Any]]]:
        """Give the statements that fold the batch in, each with its values."""
        for role, late in FORMS:
            rows = [_row(write, now) for write in batch if write.role is role and write.late is late]
            begin = 0
            while left := len(rows) - begin:
                size = min(1 << left.bit_length() - 1, SIZES[-1])
                yield self._sql[role, late, size], [*chain.from_iterable(rows[begin : begin + size])]
                begin += size


def _row(write: Write, now: float) -> tuple[object, ...]:
    return (
        write.id,
        1 if write.role is Role.EXTERNAL else max(write.run, 1),
        write.attempt,
        write.seq,
        write.token,
        str(write.state),  # the driver takes a while to see that a member of an enum is a string
        write.kind,
        write.body,
        write.lease,
        now,
        now + write.ttl,
        now - write.age,
        restores(write),
        write.created,
    )


def text(name: str) -> str:
    """Return a file of SQL."""
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")
