"""Random histories of a table, held against the pure fold column by column; a module for each database plays them."""

from __future__ import annotations

from itertools import count
from typing import Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from progresskit.decoding import decode
from progresskit.progress import STARTS, Effect, Role, State, Stored, Write, created_at, encode, fold, moment
from progresskit.testing import FakeClock
from progresskit.testing.writes import external_update, record, start, update
from progresskit_sql import SQLBackend

Row = tuple[Stored, str | None, float, float, float]
"""What is stored, kind, lease, when it was heard of and when it expires."""

ADDED = "opened_at, restored, born"
"""The columns of a record that came later than the others."""

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
        role=draw(st.sampled_from([*STARTS, Role.UPDATE, Role.EXTERNAL])),  # the others are those of parts
        token=draw(st.sampled_from([None, "x", "y"])),
        run=draw(st.integers(0, 3)),
        attempt=draw(st.integers(1, 3)),
        seq=draw(st.integers(0, 3)),
        state=state,
        kind=progress.kind,
        body=encode(progress),
        lease=draw(st.sampled_from([5.0, 20.0])),
        ttl=draw(st.sampled_from([10.0, 100.0])),
        age=draw(st.sampled_from([0.0, 0.5, 4.0, 20.0, -6.0])),
        late=draw(st.booleans()),
        created=draw(st.sampled_from([0, 1_700_000_000_000])),
    )


History = list[tuple[Write, ...] | float | str]
"""Batches to write, seconds that pass, and jobs to be asked to stop."""

steps = st.one_of(
    st.sets(st.sampled_from(IDS), min_size=1).flatmap(lambda ids: st.tuples(*map(any_write, sorted(ids)))),
    st.sampled_from([4.0, 5.0, 10.0, 100.0]),
    st.sampled_from(IDS),
)


class Model:
    """Rows as the pure fold leaves them."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.rows: dict[str, Row] = {}

    def living(self, id: str) -> Stored | None:
        row = self.rows.get(id)
        return row[0] if row is not None and self.clock() < row[4] else None

    def write(self, write: Write) -> int | None:
        before, now = self.living(write.id), self.clock()
        stored, effect = fold(before, write, now)
        if stored is not None and effect is not Effect.IGNORED:
            kind = self.rows[write.id][1] if before is not None and stored.body is before.body else write.kind
            self.rows[write.id] = stored, kind, write.lease, now, now + write.ttl
        return stored.run if stored is not None else None

    def request_cancel(self, id: str) -> set[str]:
        stored = self.living(id)
        if stored is None or stored.state.final:
            return set()
        self.rows[id] = stored._replace(cancel_requested=True), *self.rows[id][1:]
        return {id}


histories: st.SearchStrategy[History] = st.lists(steps, min_size=5, max_size=30)

thorough = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Table(Protocol):
    """A backend, and a look at its table behind its back."""

    clock: FakeClock
    backend: SQLBackend

    def row(self, id: str) -> Row:
        """Return what is stored of a job."""


def opened(created: str | None, body: str) -> str | None:
    """Return when a run was created, by its columns: NULL as long as the body is the one that opened it."""
    return created_at(body) if created is None else created or None


def shown(stored: Stored) -> tuple[object, ...]:
    """Return all of it, and what a reader sees."""
    return stored, decode(stored).to_json()


def play(table: Table, history: History) -> None:
    """Do the same to the table, under ids of its own, and to the model; compare what is seen after each step."""
    clock, backend, example = table.clock, table.backend, next(numbers)
    model = Model(clock)
    for step in history:
        if isinstance(step, float):
            clock.advance(step)
        elif isinstance(step, str):
            assert backend.request_cancel([f"{step}{example}"]) == model.request_cancel(f"{step}{example}")
        else:
            batch = [write._replace(id=f"{write.id}{example}") for write in step]
            runs = {write.id: model.write(write) for write in batch}
            assert backend.write(batch) == runs
        for id in model.rows:
            if (living := model.living(id)) is not None:
                stored, *times = table.row(id)
                assert (shown(stored), times) == (shown(living), list(model.rows[id][1:]))


def write_together_and_alone(table: Table) -> None:
    """Compare what becomes of batches as they are, turned round, and write by write."""
    batches = [
        [start("a"), external_update("b"), start("c", token="x")],
        [update("a", 2), start("b"), start("c", token="y")],
        [external_update("a", State.FAILED), update("b", 5, token="z"), update("c", 3, token="x")],
    ]
    for batch in batches:
        table.backend.write([write._replace(id=f"{write.id}-together") for write in batch])
        table.backend.write([write._replace(id=f"{write.id}-turned") for write in reversed(batch)])
        for write in batch:
            table.backend.write([write._replace(id=f"{write.id}-alone")])
    for id in "abc":
        together, turned, alone = (table.row(f"{id}-{how}") for how in ("together", "turned", "alone"))
        assert together == turned == alone
