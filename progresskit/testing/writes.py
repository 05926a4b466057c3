"""Builders of records and writes, with everything filled in that a test does not care about."""

from __future__ import annotations

from typing import Any

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
    **fields: Any,
) -> Write:
    """Return the first write of a worker: a fresh token, and no run yet."""
    progress = record(id, state, lease=lease, **fields)
    return _write(Role.START, progress, token, 0, attempt, seq, ttl, age, late)


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
    **fields: Any,
) -> Write:
    """Return a later write of the worker with that token, which knows its run; its start had seq 1."""
    progress = record(id, state, lease=lease, **fields)
    return _write(Role.UPDATE, progress, token, run, attempt, seq, ttl, age, late)


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
