"""Builders of records and writes, with everything filled in that a test does not care about."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from progresskit.parts import Declaration
from progresskit.progress import Progress, Role, State, Version, Write, encode, life_of, milliseconds, moment

LEASE = 30.0
"""Seconds after which a job of these builders is stalled."""

TTL = 3_600.0
"""Seconds after which a record of these builders is gone."""

CREATED = moment(1_700_000_000)

AGE = 60.0
"""Seconds since the runs of these builders began."""

LIFE = life_of(milliseconds(CREATED))
"""The life of a job whose first run was created at `CREATED`."""


def record(id: str, state: State = State.RUNNING, **fields: Any) -> Progress:
    """Return a record with those fields of `Progress`; its version is meaningless, and it is of the id's first run."""
    fields = {"version": Version(1, 1, 1), "created_at": CREATED, **fields}
    return Progress(**{"id": id, "state": state, "life": life_of(milliseconds(fields["created_at"])), **fields})


def start(
    id: str,
    *,
    token: str = "worker",
    attempt: int = 1,
    seq: int = 1,
    state: State = State.RUNNING,
    lease: float = LEASE,
    ttl: float = TTL,
    age: float = AGE,
    late: bool = False,
    declaration: Declaration | None = None,
    role: Role = Role.START,
    **fields: Any,
) -> Write:
    """Return the first write of a worker: a fresh token, and no run yet."""
    progress = record(id, state, lease=lease, **fields)
    write = _write(role, progress, token, 0, attempt, seq, ttl, age, late)
    return write._replace(declaration=declaration)


def update(
    id: str,
    seq: int,
    *,
    token: str = "worker",
    run: int = 1,
    attempt: int = 1,
    state: State = State.RUNNING,
    lease: float = LEASE,
    ttl: float = TTL,
    age: float = AGE,
    late: bool = False,
    declaration: Declaration | None = None,
    **fields: Any,
) -> Write:
    """Return a later write of the worker with that token, which knows its run; its start had seq 1."""
    progress = record(id, state, lease=lease, **fields)
    write = _write(Role.UPDATE, progress, token, run, attempt, seq, ttl, age, late)
    return write._replace(declaration=declaration)


def external_update(
    id: str,
    state: State = State.PENDING,
    *,
    attempt: int = 1,
    lease: float = LEASE,
    ttl: float = TTL,
    age: float | None = None,
    **fields: Any,
) -> Write:
    """Return an external update: pending, or a final state, which is made now unless it has an age."""
    progress = record(id, state, lease=lease, **fields)
    if age is None:
        age = AGE if state is State.PENDING else 0.0
    return _write(Role.EXTERNAL, progress, None, 0, attempt, 0, ttl, age, False)


def declare(
    id: str,
    size: int | None = None,
    *,
    weight: int | None = None,
    token: str | None = None,
    ttl: float = TTL,
    age: float = 0.0,
    late: bool = False,
    keeps_texts: bool = False,
    **fields: Any,
) -> Write:
    """Return a declaration of how many parts a job has, made now unless it has an age."""
    token = token or token_hex(8)
    write = _write(Role.DECLARE, record(id, State.PENDING, **fields), token, 0, 1, 0, ttl, age, late)
    return write._replace(declaration=Declaration(token, size, weight, keeps_texts=keeps_texts))


def _write(
    role: Role,
    progress: Progress,
    token: str | None,
    run: int,
    attempt: int,
    seq: int,
    ttl: float,
    age: float,
    late: bool,
) -> Write:
    return Write(
        id=progress.id,
        role=role,
        token=token,
        run=run,
        attempt=attempt,
        seq=seq,
        state=progress.state,
        kind=progress.kind,
        body=encode(progress),
        lease=progress.lease or LEASE,
        ttl=ttl,
        age=age,
        late=late,
        created=milliseconds(progress.created_at),
    )
