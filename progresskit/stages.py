"""
The stages of a job: the job itself, its steps, and loops inside of loops, as they count.

Each stage counts items, and work inside of it refines the item in hand: a loop in the body of a loop, or a step that is
entered there. The refinement holds for as long as that item is in hand, so a loop that is left needs no handling: the
next item voids it. Of the shares that were seen for one item the largest counts, since a second inner loop does not
undo the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from .counting import Count
from .steps import (
    MOST_STEPS,
    UNFINISHED,
    WHOLE,
    Step,
    StepState,
    percent_of,
    share_of_items,
    share_of_steps,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from weakref import ref

    from .counting import CountSlots, LoopCounter, SharedCount

    Number = int | float

AnyShared = TypeVar("AnyShared", bound="SharedCount")


class Items:
    """Items that are done one after the other; work inside of the one in hand may refine it."""

    __slots__ = ("_inner", "_item", "_largest")

    def __init__(self) -> None:
        self._inner: InnerLoop | Stage | None = None
        self._item: Number = 0
        self._largest = 0

    def done(self) -> Number:
        """Return how many items are done: the one in hand is not."""
        raise NotImplementedError

    def refine(self, inner: InnerLoop | Stage) -> None:
        """Let `inner` refine the item in hand, or that of the innermost loop which runs there."""
        item, before = self.done(), self._inner
        if before is None or item != self._item:
            self._largest = 0
        elif isinstance(before, InnerLoop) and before.is_running:
            before.refine(inner)
            return
        else:
            self._largest = max(self._largest, before.share)
        if isinstance(before, Stage) and before is not inner:
            before.release()
        self._inner, self._item = inner, item

    @property
    def is_refined(self) -> bool:
        """True where work inside of an item was seen, since the count began."""
        return self._inner is not None

    def forget_inner(self) -> None:
        """Begin to count again: the same numbers stand for other items."""
        if isinstance(self._inner, Stage):
            self._inner.release()
        self._inner, self._largest = None, 0

    def in_hand(self) -> InnerLoop | Stage | None:
        """Return the work that refines the item in hand, also if it is through; None where there is none."""
        return self._inner if self._item == self.done() else None

    def refinement(self, item: Number) -> int:
        """Return the share of an item by the work inside of it; 0 once it is no longer in hand."""
        inner = self._inner
        if inner is None or self._item != item:
            return 0
        self._largest = max(self._largest, inner.share)
        return self._largest

    def share_of(self, total: Number | None) -> int | None:
        """Return the share of the items that are done, that of the one in hand included; None without a total."""
        item = self.done()
        refinement = self.refinement(item)
        done = self.done()  # the next item may have begun meanwhile: it is more than any part of this one
        return share_of_items(done, total, refinement if done == item else 0)

    def innermost(self) -> Items:
        """Return the innermost of the loops that run in each other's bodies."""
        loop = self.in_hand()
        return loop.innermost() if isinstance(loop, InnerLoop) and loop.is_running else self

    def release(self) -> None:
        """Drop the slots of all steps inside: they refer to the job, which refers to the steps."""
        if self._inner is not None:
            self._inner.release()

    def inner_loops(self) -> Iterator[InnerLoop]:
        """Iterate over the loops inside of the item in hand."""
        loop = self._inner
        if isinstance(loop, InnerLoop):
            yield loop
            yield from loop.inner_loops()


class InnerLoop(Items):
    """
    A loop in the body of another one.

    `body` refers to an object that lives as long as the loop's iterator: a loop that is left needs no finalizer.
    """

    __slots__ = ("_body", "counter", "total")

    def __init__(self, counter: LoopCounter, total: Number | None, body: ref[Any]) -> None:
        super().__init__()
        self.counter, self.total, self._body = counter, total, body

    @property
    def is_running(self) -> bool:
        """True until the items are used up, or the loop is left."""
        return not (self.counter.finished or self.counter.left) and self._body() is not None

    def done(self) -> Number:
        """Return how many items are done: the one in hand is not."""
        return self.counter.done()

    @property
    def share(self) -> int:
        """The share of its items that are done, in hundredths of a percent."""
        if self.counter.finished:
            return WHOLE
        return self.share_of(self.total) or 0


class Stage(Items):
    """
    The job itself, or one of its steps: it counts items, or by steps of its own.

    `outer` is None for the job, and for a step that does not count because it was refused.
    """

    __slots__ = (
        "_openings",
        "_outcome",
        "begun",
        "count",
        "counts_parts",
        "is_declared",
        "latest",
        "name",
        "number",
        "outer",
        "slots",
        "state",
        "steps",
        "was_completed",
        "weight",
    )

    def __init__(self, slots: CountSlots, name: str = "", weight: int = 1, outer: Stage | None = None) -> None:
        super().__init__()
        self.count = Count(slots)
        self.slots: CountSlots | None = None
        """The slots of a step, which outlive its handles; those of the job belong to the handle that opened it."""
        self.name, self.weight, self.outer = name, weight, outer
        self.state = self._outcome = StepState.PENDING
        self._openings = 0
        self.was_completed = False
        """True once the step has succeeded: its share is whole, also while it is entered again."""
        self.steps: dict[str, Stage] = {}
        self.is_declared = self.counts_parts = False
        self.latest: Stage | None = None
        """The step that was entered last; None if a loop came after it."""
        self.begun = 0
        """How many steps and unnamed loops there were, one after the other."""
        self.number = 0
        """The number of this step; 0 while it has none."""

    def done(self) -> Number:
        """Return how many items are done: the one in hand is not."""
        return self.count.current

    @property
    def is_open(self) -> bool:
        """True while the step is entered."""
        return self._openings > 0

    def is_within(self, job: Stage) -> bool:
        """Return whether the step is one of the job, or of one of its steps: it was not refused."""
        return self.outer is job or (self.outer is not None and self.outer.is_within(job))

    @property
    def counts_items(self) -> bool:
        """False where the job has declared that it counts by steps or by parts."""
        return not (self.is_declared or self.counts_parts)

    @property
    def problem(self) -> str | None:
        """Why reports of a count are bad values; None where they are not, and once the step was left."""
        if self.is_declared:
            return "must be reported to a step: the job counts by the steps that it declared"
        if self.counts_parts:
            return "must be reported by a part: the job counts by its parts"
        return "must be reported inside of the step's block" if self.state is StepState.PENDING and self.outer else None

    @property
    def has_items(self) -> bool:
        """True where items are counted now, so that a step inside refines one of them."""
        count = self.count
        return not count.is_free() or count.total_is_given or (not count.is_of_loop and count.current > 0)

    @property
    def counts_by_steps(self) -> bool:
        """True where the share is that of steps: declared ones, or those that are entered one after the other."""
        return self.is_declared or (self.latest is not None and not self.has_items)

    # Shares.

    def known_share(self) -> int | None:
        """Return the share that is done, in hundredths of a percent; None while no total is known."""
        if self.counts_parts:
            return None  # only the store knows the parts
        if self.is_declared:
            return share_of_steps((step.weight, step.share) for step in self.steps.values())
        if self.latest is not None and not self.has_items:
            share = self.latest.known_share()
            return None if share is None else min(self.latest.share, UNFINISHED)
        return self.share_of(self.count.total)

    @property
    def share(self) -> int:
        """The share that is done, in hundredths of a percent; whole once the step has succeeded."""
        return WHOLE if self.was_completed else self.known_share() or 0

    def as_step(self) -> Step:
        """Return the step as the record shows it."""
        weight = self.weight if self.outer is not None and self.outer.is_declared else None
        if self.state is StepState.SUCCEEDED:
            return Step(self.name, weight, self.state, 100)
        share = None if self.state is StepState.PENDING else self.known_share()
        return Step(self.name, weight, self.state, percent_of(share))

    def give_total(self, total: Number, given: Any) -> None:
        """Set the total, which was given as that object; a step that had succeeded with another one counts again."""
        if total != self.count.total:
            self.was_completed = False
        self.count.give_total(total, given)

    def listed_steps(self) -> tuple[Step, ...] | None:
        """Return the steps in their order, as far as they were entered or declared; None with loops between them."""
        steps = sorted((step for step in self.steps.values() if step.number), key=lambda step: step.number)
        return tuple(step.as_step() for step in steps) if len(steps) == self.begun else None

    # Steps.

    def declare(self, weights: Mapping[str, int], new_slots: Callable[[], CountSlots]) -> None:
        """Count by these steps only. Raises ValueError if something was counted before, or other steps are declared."""
        if self.is_declared and {step.name: step.weight for step in self.steps.values()} == weights:
            return
        self._check_undeclared()
        for name, weight in weights.items():
            step = self.steps[name] = self._new_step(name, new_slots(), weight)
            self._number(step)
        self.is_declared = self.count.is_closed = True
        self.count.shut_gate()

    def declare_parts(self) -> None:
        """Count by parts only. Raises ValueError if something was counted before, or steps are declared."""
        if not self.counts_parts:
            self._check_undeclared()
            self.counts_parts = self.count.is_closed = True
            self.count.shut_gate()

    def _check_undeclared(self) -> None:
        if not self.counts_items or self.steps or self.has_items or self.count.is_of_loop:
            raise ValueError("must be declared once, before the job counts")

    def step(self, name: str, new_slots: Callable[[], CountSlots]) -> Stage:
        """Return the step of that name, which may be a new one. Raises ValueError for one that cannot be added."""
        if self.is_declared:
            if name not in self.steps:
                raise ValueError(f"must be one of those declared, not {name!r}")
            return self.steps[name]
        if self.counts_parts:
            raise ValueError("must be one of a job that does not count by its parts")
        if self.has_items:
            inner = self.innermost().in_hand()
            return inner if isinstance(inner, Stage) and inner.name == name else self._new_step(name, new_slots())
        if name not in self.steps:
            if len(self.steps) >= MOST_STEPS:
                raise ValueError(f"must be one of at most {MOST_STEPS}")
            self.steps[name] = self._new_step(name, new_slots())
        return self.steps[name]

    def _number(self, step: Stage) -> None:
        self.begun += 1
        step.number = self.begun

    def _new_step(self, name: str, slots: CountSlots, weight: int = 1) -> Stage:
        step = Stage(slots, name, weight, self)
        step.slots = slots
        step.count.is_closed = True
        step.count.shut_gate()
        return step

    def enter(self) -> None:
        """Begin the step, or continue it."""
        if not self._openings:
            self.state, self._outcome = StepState.RUNNING, StepState.SUCCEEDED
            if self.outer is not None:
                self.outer._begin(self)
            self.count.is_closed = False
            self.slots = self.count.slots
        self._openings += 1

    def _begin(self, step: Stage) -> None:
        if self.has_items and not self.is_declared:
            if self.innermost().in_hand() is not step:
                step._clear()
                self.refine(step)
        else:
            if self.count.is_of_loop:
                self.forget_inner()
                self.count.restart()
            if self.steps.setdefault(step.name, step) is step and not step.number:
                self._number(step)
            self.latest = step

    def _clear(self) -> None:
        """Begin at 0 again, for another item of the outer stage."""
        self.forget_inner()
        self.count.clear()
        self.steps, self.latest, self.begun, self.was_completed = {}, None, 0, False

    def release(self) -> None:
        """Drop the slots of this step and of all steps inside: they refer to the job, which refers to the steps."""
        super().release()
        for step in self.steps.values():
            step.release()
        self.slots = None

    def leave(self, state: StepState) -> bool:
        """Leave the step; return whether no one is in it any longer. Of several ends, one that is no success counts."""
        self._openings -= 1
        if state is not StepState.SUCCEEDED:
            self._outcome = state
        if self._openings:
            return False
        self.state = self._outcome
        self.was_completed = self.was_completed or self.state is StepState.SUCCEEDED
        self.count.fold()
        self.count.is_closed = True
        self.count.shut_gate()
        return True

    # Loops.

    def begin_loop(self, counter: LoopCounter, total: Number | None, body: ref[Any], *, is_job: bool) -> bool:
        """
        Count the items of a loop; return False for one in the body of another.

        Without a total that was given, the loop makes it its own: it is an unnamed step, unless it is the whole job.
        """
        if not self.count.is_free():
            self.refine(InnerLoop(counter, total, body))
            return False
        if not self.count.total_is_given and self.counts_items:
            self.forget_inner()
            self.count.restart(total)
            self.count.is_of_loop, self.latest = True, None
            self.begun += not is_job
        self.count.count_with(counter)
        return True

    def retotal(self, counter: LoopCounter, total: Number | None) -> None:
        """Replace the total of a loop that counts here, or inside of the item in hand."""
        self.count.retotal(counter, total)
        for loop in self.inner_loops():
            if loop.counter is counter:
                loop.total = total


class Work(NamedTuple):
    """The work of a job at one moment."""

    current: Number
    total: Number | None
    unit: str | None
    counted: tuple[int, int]
    """Identifies the count that is shown: another one begins when it changes."""
    is_divided: bool = False
    """True where `share` does not follow from `current` and `total`."""
    share: int | None = None
    """The share of the whole job that is done, in hundredths of a percent; None while no total is known."""
    steps: tuple[Step, ...] | None = None
    step: int | None = None


class Stages:
    """
    All stages of one job.

    For one thread at a time: the job guards them. `shut_gates` and `stop_loops` may be called in any thread.
    """

    __slots__ = ("_open", "_shared", "job")

    def __init__(self, slots: CountSlots) -> None:
        self.job = Stage(slots)
        self._open: list[Stage] = []  # the steps that are open, in the order in which they were entered
        self._shared: list[tuple[Count, SharedCount]] = []

    def share(self, stage: Stage, new: Callable[[], AnyShared]) -> AnyShared:
        """Return what other processes count in that stage; `new` makes it where there was none."""
        count = stage.count
        if count.shared is None:
            count.shared = new()
            self._shared.append((count, count.shared))
        return cast("AnyShared", count.shared)

    def take_text(self) -> str | None:
        """Return the newest description of another process, once; None where there is no new one."""
        texts = [text for _, shared in self._shared if (text := shared.take_text()) is not None]
        return texts[-1] if texts else None

    def enter(self, step: Stage) -> None:
        """Enter a step."""
        step.enter()
        if step.is_within(self.job):
            if step in self._open:
                self._open.remove(step)
            self._open.append(step)

    def leave(self, step: Stage, state: StepState) -> None:
        """Leave a step, which ends so."""
        if step.is_open and step.leave(state) and step in self._open:
            self._open.remove(step)

    def work(self) -> Work:
        """Return the work as it stands."""
        job = self.job
        if job.counts_by_steps:
            return self._work_of_steps(job)
        work = self._count_of(job)
        number = job.begun if job.count.is_of_loop and job.begun else None
        if not job.is_refined:
            return work if number is None else work._replace(step=number)
        return work._replace(is_divided=True, share=job.known_share(), step=number)

    def _work_of_steps(self, job: Stage) -> Work:
        shown = next(reversed(self._open), job.latest)  # one look: a finalizer may leave a step meanwhile
        current = shown
        while current is not None and current.outer is not job:
            current = current.outer
        work = Work(0, None, None, (id(job), 0)) if shown is None else self._count_of(shown)
        return work._replace(
            unit=(work.unit or job.count.unit) if job.is_declared else work.unit,
            is_divided=True,
            share=job.known_share(),
            steps=job.listed_steps(),
            step=None if current is None else current.number,
        )

    @staticmethod
    def _count_of(stage: Stage) -> Work:
        count = stage.count
        return Work(count.current, count.total, count.unit, (id(stage), count.restarts))

    def open_gates(self) -> None:
        """Let reports be stored without another look."""
        for stage in self._live():
            stage.count.open_gate()

    def shut_gates(self) -> None:
        """Have each report take the slow path."""
        for stage in self._live():
            stage.count.shut_gate()

    def stop_loops(self) -> None:
        """Raise Cancelled in all loops that count."""
        for stage in self._live():
            stage.count.stop_loop()
            for loop in stage.inner_loops():
                loop.counter.stop()

    def stop_shared(self) -> None:
        """Let other processes know that the job was asked to stop."""
        for _, shared in list(self._shared):
            shared.stop()

    def _live(self) -> tuple[Stage, ...]:
        return (self.job, *self._open)

    def end(self) -> None:
        """Count no more: the job has ended."""
        for stage in self._live():
            stage.count.fold()
        for count, _ in self._shared:
            count.fold_shared()
        self.shut_gates()

    def release(self) -> None:
        """Drop the steps of a job that has ended."""
        self._open.clear()
        self._shared.clear()
        self.job.release()
        self.job.steps, self.job.latest = {}, None
