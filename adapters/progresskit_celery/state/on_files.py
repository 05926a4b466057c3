"""
`file://`: a file a result.

Records are replaced whole, and while a lock is held. A task's own file is another matter, because Celery takes no
lock: it is written while the kernel lets no other process open it (a lease), or not at all.
"""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from threading import get_ident
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from zlib import crc32

from progresskit.errors import BackendUnavailable

from .store import Store, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from .store import Change, Edit, Meta

LOCKS = 64
"""How many files are there to lock."""

LOCK_SECONDS = 5.0
"""How long a lock is waited for."""


class FileStore(Store):
    """A folder that processes of one host, or of several, share; the time is that of each host."""

    mirrors = hasattr(fcntl, "F_SETLEASE")

    def _path(self, id: str) -> str:
        return os.fsdecode(self._backend._filename(self._backend.get_key_for_task(id)))

    @property
    def _folder(self) -> str:
        return os.fsdecode(self._backend.path)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackendUnavailable(f"the folder of Celery's results: {error}") from error

    def read(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Read one file after the other."""
        with self._guarded():
            metas = {id: decoded(self._backend, _content(self._path(id))) for id in ids}
            found = {id: meta for id, meta in metas.items() if meta is not None}
            if len(found) < len(ids):
                os.stat(self._folder)  # a missing folder does not mean that no job was reported
        return found, self.time()

    def change(self, edits: Mapping[str, Edit]) -> None:
        """Do one edit after the other, while the records are locked."""
        with self._guarded(), self._locked(edits):
            now = self.time()
            for id, edit in edits.items():
                path = self._path(id)
                read = _content(path)
                change = edit(decoded(self._backend, read), now)
                if change is None:
                    continue
                content = encoded(self._backend, id, change.result, change.request)
                if change.request is None:
                    self._replace(path, content, change)
                else:
                    mirror(path, read, content)

    @contextmanager
    def _locked(self, ids: Collection[str]) -> Iterator[None]:
        deadline = monotonic() + LOCK_SECONDS
        with ExitStack() as stack:
            for number in sorted({crc32(id.encode()) % LOCKS for id in ids}):
                file = stack.enter_context(open(os.path.join(self._folder, f".progresskit-lock-{number}"), "ab"))
                _lock(file, deadline)
            yield

    def _replace(self, path: str, content: bytes, change: Change) -> None:
        # If the process is killed just then, the file that is left has a name that Celery's cleanup knows.
        draft = f"{path}.{os.getpid()}.{get_ident()}"
        try:
            with open(draft, "wb") as file:
                file.write(content)
            if change.expires is not None:
                # Celery's cleanup goes by the time of the file, and removes it when it is older than results may be.
                done = change.expires - (self._backend.expires or 0)
                os.utime(draft, (done, done))
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""

    def after_fork_in_child(self) -> None:
        """Do nothing: no file is open between two calls."""


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _lock(file: Any, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                raise BackendUnavailable("another process does not let go of Celery's results") from None
            sleep(0.002)


def mirror(path: str, read: bytes | None, content: bytes) -> bool:
    """
    Write a task's own state if the file still has the content that was read, in one step; return whether it did.

    A process that opens the file meanwhile waits for microseconds, until the lease is given back; and there is no lease
    while another process has the file open. Not every file system has leases.
    """
    draft = f"{path}.{os.getpid()}.{get_ident()}"
    if read is None:
        try:
            with open(draft, "xb") as file:
                file.write(content)
            os.link(draft, path)
        except OSError:
            return False
        else:
            return True
        finally:
            with suppress(OSError):
                os.unlink(draft)
    try:
        with open(path, "r+b", buffering=0) as there, _lease(there):
            if there.read() != read:
                return False
            there.truncate(0)  # first: if the process is killed here, the file is empty and not a mixture
            there.seek(0)
            there.write(content)
    except OSError:
        return False
    return True


@contextmanager
def _lease(file: Any) -> Iterator[None]:
    # The signal by which the kernel asks for it back must be one that is ignored: the default one ends the process.
    fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    try:
        yield
    finally:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
