"""Packing the sources of the standard library, some files at a time: parts of one job, for any worker to take."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, NamedTuple

import progresskit

from .sources import standard_library

if TYPE_CHECKING:
    from pathlib import Path

FILES = 20
"""Files in one archive, at most."""

_KIB = 1_024


class Batch(NamedTuple):
    """Files that are packed into one archive, and their size in bytes."""

    files: list[Path]
    size: int

    @property
    def weight(self) -> int:
        """Its share of the job, in proportion to the work."""
        return self.size // _KIB + 1


def batches() -> list[Batch]:
    """Return the files of the standard library in batches."""
    files = standard_library()
    parts = [files[start : start + FILES] for start in range(0, len(files), FILES)]
    return [Batch(part, sum(path.stat().st_size for path in part)) for part in parts]


def pack(group: str, number: int, weight: int, files: list[str], archive: str) -> None:
    """Pack the files into a `.tar.xz` file, as one part of the job `group`."""
    job = progresskit.get(group)
    if job is None or job.cancel_requested:
        return  # it was cancelled while this waited in the queue
    with (
        progresskit.part(group, number, weight=weight, cancellable=True),
        tarfile.open(archive, "w:xz") as packed,
    ):
        for path in progresskit.track(files, unit="files"):
            packed.add(path)
