"""Starting jobs, and keeping the list of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import progresskit
from progresskit.progress import State

from .jobs import Jobs
from .work.archives import batches

if TYPE_CHECKING:
    from progresskit.progress import Progress

    from .folder import Folder
    from .jobs import Job
    from .queues.base import Queue


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
    "archive": Kind(
        "pack",
        "Pack the standard library",
        "Each archive is a part of one job, and the worker's processes share them.",
    ),
    "primes": Kind(
        "find_gap",
        "Search for a prime gap",
        "The distance to a wide one is unknown: a job without a total.",
    ),
}


class Card(NamedTuple):
    """The view of a job on the page; `record` is None until the job is reported, `result` until it has succeeded."""

    job: Job
    record: Progress | None
    result: Any = None

    @property
    def done(self) -> bool:
        """The job has come to an end."""
        return self.record is not None and self.record.done


class Desk:
    """Sends tasks to the queue, and knows which."""

    def __init__(self, folder: Folder, queue: Queue) -> None:
        self.folder, self._queue = folder, queue
        self._jobs = Jobs(folder.jobs)

    def start(self, kind: str) -> Card:
        """Start the job of a button."""
        if kind == "archive":
            return self._start_archive(kind)
        arguments = (str(self.folder.broken),) if kind == "compile" else ()
        return self._send(uuid4().hex, kind, KINDS[kind].title, KINDS[kind].task, *arguments)

    def start_import(self, files: str, task: str, name: str) -> Card:
        """Start an import of the upload of that name into a table of the same name."""
        paths = self.folder.upload(files), self.folder.table(files)
        return self._send(files, "import", name, task, *map(str, paths))

    def _start_archive(self, kind: str) -> Card:
        """Declare a job made of parts, and send a task for each of them."""
        parts = batches()
        job = self._jobs.add(uuid4().hex, uuid4().hex, kind, KINDS[kind].title)
        progresskit.group(
            job.id,
            size=len(parts),
            weight=sum(part.weight for part in parts),
            unit="archives",
            description="Packing",
            meta={"files": sum(len(part.files) for part in parts), "bytes": sum(part.size for part in parts)},
        )
        for number, part in enumerate(parts):
            files, archive = list(map(str, part.files)), str(self.folder.archive(job.files, number))
            self._queue.send(KINDS[kind].task, job.id, number, part.weight, files, archive)
        return Card(job, progresskit.get(job.id))

    def _send(self, files: str, kind: str, title: str, task: str, *arguments: str) -> Card:
        id = self._queue.send(task, *arguments)
        return Card(self._jobs.add(id, files, kind, title), None)

    def card(self, id: str) -> Card | None:
        """Return one job; None for one that is not in the list."""
        job = self._jobs.get(id)
        return None if job is None else self._card(job, progresskit.get(id))

    def cards(self) -> list[Card]:
        """Return all, the newest first, as they are now."""
        jobs = self._jobs.all()
        records = progresskit.get_many([job.id for job in jobs])
        return [self._card(job, records.get(job.id)) for job in jobs]

    def _card(self, job: Job, record: Progress | None) -> Card:
        if record is None or record.state is not State.SUCCEEDED:
            return Card(job, record)
        if job.kind == "archive":
            return Card(job, record, {**record.meta, "packed": self.folder.packed_bytes(job.files)})
        return Card(job, record, record.result)

    def clear(self) -> list[str]:
        """Forget the jobs that are done, and delete their files; return their ids."""
        done = [card.job for card in self.cards() if card.done]
        ids = [job.id for job in done]
        self._jobs.forget(ids)
        for job in done:
            self.folder.forget(job.files)
        return ids
