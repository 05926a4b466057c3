"""
The fold as one upsert: `progresskit.progress.fold`, decided by the database.

The statement is in write.sql, and its repeated conditions are named here: in it `stored` is the row that is there,
and `excluded`, as SQL has it, the one that is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import DataError

from progresskit.progress import FINAL_STATES, SKEW_SECONDS, Role, restores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from progresskit.progress import Write

EXPIRED = "(stored.expires_at <= excluded.heard_at)"
FINAL = "(stored.state IN ('succeeded', 'failed', 'cancelled'))"
EXTERNAL = "(excluded.role IN ('word', 'late word'))"
EXTERNAL_ON_TOP = f"({EXTERNAL} AND NOT {EXPIRED})"
OWN = f"(NOT {EXTERNAL} AND NOT {EXPIRED} AND stored.token IS NOT DISTINCT FROM excluded.token)"
REPEATED = f"({OWN} AND (stored.attempt, stored.seq) = (excluded.attempt, excluded.seq))"
AWAITED = "(stored.state = 'pending' AND stored.attempt <= excluded.attempt)"
RETRIED = f"(NOT {FINAL} AND stored.attempt < excluded.attempt)"
SAME_RUN = f"(NOT {EXTERNAL} AND NOT {EXPIRED} AND ({OWN} OR {AWAITED} OR {RETRIED}))"
CREATED_AT = """nullif(btrim(substring(stored.body from '.*"created_at":(null|"[^"]*")'), '"'), 'null')"""
"""
The last value of that name in the text, which is the record's own, whichever names its meta and result have.

A cast to JSON would fail for a body that is none, and the job could never be written again.
"""

LATE = "(excluded.role IN ('late start', 'late update', 'late word'))"
START = "(excluded.role IN ('start', 'late start'))"
NO_OLDER = f"(excluded.opened_at >= stored.opened_at OR stored.opened_at > excluded.heard_at + {SKEW_SECONDS})"
FOLLOWS = "(stored.restored AND excluded.opened_at > stored.opened_at)"
TAKES_OVER = f"""CASE
            WHEN {START} THEN NOT {LATE} OR {AWAITED} OR {NO_OLDER}
            ELSE ({AWAITED} AND (NOT {LATE} OR {NO_OLDER})) OR {FOLLOWS}
        END"""

CONDITIONS = {
    "expired": EXPIRED,
    "final": FINAL,
    "external": EXTERNAL,
    "external_on_top": EXTERNAL_ON_TOP,
    "own": OWN,
    "repeated": REPEATED,
    "same_run": SAME_RUN,
    "created_at": CREATED_AT,
    "late": LATE,
    "no_older": NO_OLDER,
    "takes_over": TAKES_OVER,
}

ROLES = {(role, late): f"late {role.value}" if late else role.value for role in Role for late in (False, True)}

SEPARATOR, NULL = "\x1e", "\x1d"
"""
A column of a batch is sent as one text, for psycopg takes 35 µs for an array with a single element.

The separator of two values is in no id, no number and no JSON.
"""

COLUMNS = (
    *("id", "role", "run", "attempt", "seq", "token", "state", "kind", "body", "lease", "ttl"),
    *("age", "restored", "born"),
)

# The text begins with a separator, so that it is not empty: of an empty text no array has one element.
ARRAYS = {f"each_{name}": f"(string_to_array(%({name})s, E'\\x1e', E'\\x1d'))[2:]" for name in COLUMNS}


def columns(batch: Sequence[Write]) -> dict[str, Any]:
    """Return the values of the statement: a text for each column, and whether a crash must not undo the batch."""
    return {
        "id": _joined([write.id for write in batch]),
        "role": _joined([ROLES[write.role, write.late] for write in batch]),
        "run": _joined(["1" if write.role is Role.EXTERNAL else str(max(write.run, 1)) for write in batch]),
        "attempt": _joined([str(write.attempt) for write in batch]),
        "seq": _joined([str(write.seq) for write in batch]),
        "token": _joined([_optional(write.token) for write in batch]),
        "state": _joined([write.state.value for write in batch]),
        "kind": _joined([_optional(write.kind) for write in batch]),
        "body": _joined([write.body for write in batch]),
        "lease": _joined([repr(write.lease) for write in batch]),
        "ttl": _joined([repr(write.ttl) for write in batch]),
        "age": _joined([repr(write.age) for write in batch]),
        "restored": _joined(["1" if restores(write) else "0" for write in batch]),
        "born": _joined([str(write.created) for write in batch]),
        "lasting": not FINAL_STATES.isdisjoint([write.state for write in batch]),
    }


def _optional(text: str | None) -> str:
    return NULL if text is None else text.replace(SEPARATOR, "\ufffd")


def _joined(values: list[str]) -> str:
    joined = SEPARATOR.join(("", *values))
    if joined.count(SEPARATOR) != len(values):
        raise DataError("a text has a control character in it that JSON does not allow")
    return joined
