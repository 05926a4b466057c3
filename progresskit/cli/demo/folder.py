"""The temporary folder that holds all that the demo writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp


class Folder:
    """The paths of the demo's files; every process of the demo makes its own object of the same path."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.uploads = self.path / "uploads"
        self.tables = self.path / "tables"
        self.archives = self.path / "archives"
        self.jobs = self.path / "jobs.db"
        self.broken = self.path / "broken.py"
        self.log = self.path / "worker.log"

    @classmethod
    def create(cls) -> Folder:
        """Make a fresh one, for this user only."""
        folder = cls(mkdtemp(prefix="progresskit-demo-"))
        for path in (folder.uploads, folder.tables, folder.archives):
            path.mkdir()
        folder.broken.write_text("# This file is in the way of whoever compiles all the others.\nprint('Hello'\n")
        return folder

    @property
    def url(self) -> str:
        """Where progress is kept."""
        return f"sqlite:///{self.path / 'progress.db'}"

    def upload(self, files: str) -> Path:
        """Return where the file of a job is put; `files` is the name of the job's files."""
        return self.uploads / files

    def table(self, files: str) -> Path:
        """Return the SQLite file that a job imports into."""
        return self.tables / f"{files}.db"

    def archive(self, files: str, number: int) -> Path:
        """Return the archive with that number of a job."""
        return self.archives / f"{files}-{number}.tar.xz"

    def packed_bytes(self, files: str) -> int:
        """Return the size of all archives of a job."""
        return sum(path.stat().st_size for path in self.archives.glob(f"{files}-*"))

    def forget(self, files: str) -> None:
        """Delete the files of a job."""
        table = self.table(files)
        archives = self.archives.glob(f"{files}-*")
        for path in (self.upload(files), table, Path(f"{table}-wal"), Path(f"{table}-shm"), *archives):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.path, ignore_errors=True)
