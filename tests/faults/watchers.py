"""Those who watch, each in another way; each holds what it sees against what a viewer may ever see."""

from __future__ import annotations

import asyncio
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from threading import Condition, Thread

from progresskit import Progress

from .jobs import Ending, kit_on


class Watcher(ABC):
    """Watches jobs with a kit of its own until all of them are done."""

    def __init__(self, url: str, ids: Sequence[str]) -> None:
        self.kit = kit_on(url)
        self.problems: list[str] = []
        self.seen = 0
        self._last: dict[str, Progress] = {}
        self._changed = Condition()
        self._ids = ids
        self.begin()

    @abstractmethod
    def begin(self) -> None:
        """Begin to watch."""

    def saw(self, progress: Progress) -> None:
        """Take what is shown: of each job never something older, and nothing else after its end."""
        with self._changed:
            before = self._last.get(progress.id)
            if before is not None:
                if progress.version < before.version or progress.current < before.current:
                    self._wrong("went backwards", before, progress)
                if before.done and (progress.state, progress.version) != (before.state, before.version):
                    self._wrong("changed after its end", before, progress)
            self._last[progress.id] = progress
            self.seen += 1
            self._changed.notify_all()

    def _wrong(self, what: str, before: Progress, progress: Progress) -> None:
        self.problems.append(f"{self}: {progress.id} {what}: {before.to_json()} then {progress.to_json()}")

    def wait_for_ends(self, ids: Collection[str], seconds: float) -> None:
        """Wait until these jobs were seen done; raises TimeoutError, with what was seen last, if they are not."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while missed := [id for id in ids if id not in self._last or not self._last[id].done]:
                if not self._changed.wait(deadline - time.monotonic()):
                    seen = [self._last[id].to_json() if id in self._last else f"{id}: nothing" for id in missed]
                    raise TimeoutError(f"{self} has not seen the ends of {missed} in {seconds:g} s, but {seen}")

    def compare(self, endings: dict[str, Ending]) -> None:
        """Hold the last that was seen of each job against how it ended."""
        with self._changed:
            for id, ending in endings.items():
                last = self._last.get(id)
                if last is None or (last.state, last.current) != ending:
                    self.problems.append(f"{self}: {id} ended as {ending}, and seen was {last}")

    def close(self) -> None:
        """Watch no longer."""
        self.kit.close()

    def __str__(self) -> str:
        return type(self).__name__


class Iterating(Watcher):
    """Watches by `kit.watch()`."""

    def begin(self) -> None:
        self._thread = Thread(target=self._run, name=str(self))
        self._thread.start()

    def _run(self) -> None:
        try:
            self.iterate()
        except BaseException:
            self.problems.append(f"{self}: raised:\n{traceback.format_exc()}")

    def iterate(self) -> None:
        for progress in self.kit.watch(*self._ids):
            self.saw(progress)

    def close(self) -> None:
        super().close()
        self._thread.join(20)
        if self._thread.is_alive():
            self.problems.append(f"{self}: did not end with its kit")


class Awaiting(Iterating):
    """Watches by `kit.awatch()`."""

    def iterate(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        async for progress in self.kit.awatch(*self._ids):
            self.saw(progress)


class Attached(Watcher):
    """Watches by an observer that is attached to each job's subject."""

    def begin(self) -> None:
        for id in self._ids:
            self.kit.subject(id).attach(self.saw)


WATCHERS: tuple[type[Watcher], ...] = (Iterating, Awaiting, Attached)
