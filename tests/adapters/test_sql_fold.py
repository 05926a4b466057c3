"""The SQL fold stores, column by column, what the pure fold says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progresskit.progress import Effect, Role, State, Stored, Write, decode, encode, fold, moment
from progresskit.testing import FakeClock
from progresskit.testing.writes import record
from progresskit_sql import SQLBackend

IDS = ("a", "b", "c")
numbers = count()


@st.composite
def any_write(draw: st.DrawFn, id: str) -> Write:
    """Give any write whatsoever, those that nobody would make among them."""
    state = draw(st.sampled_from(State))
    progress = record(
        id,
        state,
        current=draw(st.integers(0, 99)),
        kind=draw(st.sampled_from([None, "k", "Ключ"])),
        created_at=draw(st.sampled_from([None, moment(1), moment(2)])),
        finished_at=draw(st.sampled_from([None, moment(3)])),
    )
    return Write(
        id=id,
        role=draw(st.sampled_from(Role)),
        token=draw(st.sampled_from([None, "x", "y"])),
        run=draw(st.integers(0, 3)),
        attempt=draw(st.integers(1, 3)),
        seq=draw(st.integers(0, 3)),
        state=state,
        kind=progress.kind,
        body=encode(progress),
        lease=draw(st.sampled_from([5.0, 20.0])),
        ttl=draw(st.sampled_from([10.0, 100.0])),
    )


steps = st.one_of(
    st.sets(st.sampled_from(IDS), min_size=1).flatmap(lambda ids: st.tuples(*map(any_write, sorted(ids)))),
    st.sampled_from([4.0, 5.0, 10.0, 100.0]),
    st.sampled_from(IDS),
)


class Model:
    """Rows as the pure fold leaves them: what is stored, kind, lease, when it was heard of and when it expires."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.rows: dict[str, tuple[Stored, str | None, float, float, float]] = {}

    def living(self, id: str) -> Stored | None:
        row = self.rows.get(id)
        return row[0] if row is not None and self.clock() < row[4] else None

    def write(self, write: Write) -> int | None:
        before, now = self.living(write.id), self.clock()
        stored, effect = fold(before, write)
        if stored is not None and effect is not Effect.IGNORED:
            kind = self.rows[write.id][1] if before is not None and stored.body is before.body else write.kind
            self.rows[write.id] = stored, kind, write.lease, now, now + write.ttl
        return stored.run if stored is not None else None

    def cancel(self, id: str) -> set[str]:
        stored = self.living(id)
        if stored is None or stored.state.final:
            return set()
        self.rows[id] = stored._replace(cancel_requested=True), *self.rows[id][1:]
        return {id}


class Database:
    """A backend, and a look at its table behind its back."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock(0)
        self.backend = SQLBackend(f"sqlite:///{path}", clock=self.clock)
        self.backend.read(["nothing"])
        self.connection = sqlite3.connect(path)

    def row(self, id: str) -> tuple[Stored, str | None, float, float, float]:
        columns = "run, attempt, seq, token, state, body, verdict, created, cancel_requested"
        row = self.connection.execute(
            f"SELECT {columns}, kind, lease, heard_at, expires_at FROM progresskit_jobs WHERE id = ?", [id]
        ).fetchone()
        stored = Stored(*row[:9])
        return stored._replace(state=State(stored.state), cancel_requested=bool(row[8])), *row[9:]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "progress.db")
    with closing(database.connection), closing(database.backend):
        yield database


def shown(stored: Stored) -> tuple[object, ...]:
    """Return all of it, with `created` as a reader sees it: SQL leaves it out as long as the body says the same."""
    return stored._replace(created=None), decode(stored).to_json()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=5, max_size=30))
def test_any_history_is_stored_as_the_pure_fold_stores_it(
    database: Database, history: list[tuple[Write, ...] | float | str]
) -> None:
    clock, backend, example = database.clock, database.backend, next(numbers)
    model = Model(clock)
    for step in history:
        if isinstance(step, float):
            clock.advance(step)
        elif isinstance(step, str):
            assert backend.cancel([f"{step}{example}"]) == model.cancel(f"{step}{example}")
        else:
            batch = [write._replace(id=f"{write.id}{example}") for write in step]
            runs = {write.id: model.write(write) for write in batch}
            starts = [write.id for write in batch if write.role is Role.START]
            assert backend.write(batch) == {id: runs[id] for id in starts}
        for id in model.rows:
            if (living := model.living(id)) is not None:
                stored, *times = database.row(id)
                assert (shown(stored), times) == (shown(living), list(model.rows[id][1:]))
