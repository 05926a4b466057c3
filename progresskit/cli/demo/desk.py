"""Starting jobs, and keeping the list of them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import progresskit

from .jobs import Jobs

if TYPE_CHECKING:
    from celery import Celery

    from progresskit.progress import Progress

    from .folder import Folder
    from .jobs import Job


class Kind(NamedTuple):
    """A job that can be started with a button: the task, and its title on the page."""

    task: str
    title: str
    about: str


KINDS = {
    "index": Kind(
        "index_library",
        "Index the standard library",
        f"Tokenises each file of Python {sys.version_info.major}.{sys.version_info.minor} and counts the names.",
    ),
    "compile": Kind(
        "compile_library",
        "Compile the standard library",
        "One broken file is among them, so this fails half-way.",
    ),
    "primes": Kind(
        "find_gap",
        "Search for a prime gap",
        "The distance to a wide one is unknown: a job without a total.",
    ),
}


class Card(NamedTuple):
    """The view of a job on the page; `record` is None until the job is reported."""

    job: Job
    record: Progress | None

    @property
    def done(self) -> bool:
        """The job has come to an end."""
        return self.record is not None and self.record.done


class Desk:
    """Sends tasks to the queue, and knows which."""

    def __init__(self, folder: Folder, queue: Celery) -> None:
        self.folder, self._queue = folder, queue
        self._jobs = Jobs(folder.jobs)

    def start(self, kind: str) -> Card:
        """Start the job of a button."""
        arguments = (str(self.folder.broken),) if kind == "compile" else ()
        return self._send(os.urandom(16).hex(), kind, KINDS[kind].title, KINDS[kind].task, *arguments)

    def start_import(self, id: str, task: str, name: str) -> Card:
        """Start an import into the table of that id, of the upload of that id."""
        paths = self.folder.upload(id), self.folder.table(id)
        return self._send(id, "import", name, task, *map(str, paths))

    def _send(self, id: str, kind: str, title: str, task: str, *arguments: str) -> Card:
        job = self._jobs.add(id, kind, title)
        self._queue.send_task(task, arguments, task_id=id)
        return Card(job, None)

    def card(self, id: str) -> Card | None:
        """Return one job; None for one that is not in the list."""
        job = self._jobs.get(id)
        return None if job is None else Card(job, progresskit.get(id))

    def cards(self) -> list[Card]:
        """Return all, the newest first, as they are now."""
        jobs = self._jobs.all()
        records = progresskit.get_many([job.id for job in jobs])
        return [Card(job, records.get(job.id)) for job in jobs]

    def clear(self) -> list[str]:
        """Forget the jobs that are done, and delete their files; return their ids."""
        done = [card.job.id for card in self.cards() if card.done]
        self._jobs.forget(done)
        for id in done:
            self.folder.forget(id)
        return done
