"""What all the servers have in common."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from .ports import free_port
from .process import Account, Process, run, tail
from .waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self


class Server(ABC):
    """
    A server of one kind, in a temporary folder of its own.

    The same object may be started, killed and started again: it keeps its port and its data until it is stopped.
    """

    programs: ClassVar[tuple[str, ...]]
    """The programs that are needed."""

    user: ClassVar[str | None] = None
    """Who runs it when the tests are run by root and it refuses to be."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder: Path | None = None
        self._process: Process | None = None
        self._owner = os.getpid()

    @property
    @abstractmethod
    def url(self) -> str:
        """The address of a store on it, the same one each time."""

    @abstractmethod
    def fresh(self) -> str:
        """Return the address of a fresh and empty store on it."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def ping(self) -> None:
        """Raise unless the server answers."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server needs before it is started for the first time."""

    def populate(self) -> None:  # noqa: B027 - few need it
        """Make what the server needs once it has been started for the first time."""

    def environment(self) -> dict[str, str]:
        """Return the environment it is run in."""
        return dict(os.environ)

    @classmethod
    def find(cls, program: str) -> str | None:
        """Find a program; those that root uses are not on the path of everybody."""
        return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))

    @classmethod
    def missing(cls) -> str | None:
        """Return why it cannot be had here; None where it can."""
        absent = [name for name in cls.programs if cls.find(name) is None]
        return f"{' and '.join(absent)} not found: tools/bootstrap installs what the tests need" if absent else None

    def program(self, name: str) -> str:
        """Return the path of a program that has to be there."""
        found = self.find(name)
        assert found is not None, self.missing()
        return found

    @property
    def account(self) -> Account | None:
        return Account.of(self.user) if self.user and not os.geteuid() else None

    @property
    def folder(self) -> Path:
        """Where it keeps its data and its log."""
        if self._folder is None:
            # Not in a test's folder: another user has no way into it, and it may be too deep for a socket (unix(7)).
            self._folder = Path(tempfile.mkdtemp(prefix=f"progresskit-{type(self).__name__.lower()}-"))
            if self.account:
                os.chown(self._folder, *self.account)
        return self._folder

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it, for the first time or again; returns when it answers."""
        assert self._process is None, "the server runs already"
        first = self._folder is None
        if first:
            self.prepare()
        self._process = Process(self.command(), self.folder, env=self.environment(), account=self.account)
        try:
            self.wait()
            if first:
                self.populate()
        except BaseException:
            self.stop()
            raise

    def wait(self, seconds: float = PATIENCE) -> None:
        """Return when it answers; raises TimeoutError, with the end of its log, when it does not."""
        deadline = time.monotonic() + seconds
        problem: Exception | None = None
        while time.monotonic() < deadline and self._process is not None and not self._process.ended:
            try:
                return self.ping()
            except Exception as error:
                problem = error
            time.sleep(0.02)
        raise TimeoutError(f"{type(self).__name__} gives no answer: {problem!r}\n{tail(self.folder / 'server.log')}")

    def kill(self) -> None:
        """End it as SIGKILL does; returns when nothing of it is left."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def pause(self) -> None:
        """Stop all of its processes where they are: its connections stay, and nobody answers."""
        assert self._process is not None
        self._process.stop()

    def resume(self) -> None:
        """Let a paused server go on."""
        assert self._process is not None
        self._process.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good, and remove what it kept; a forked child has nothing to end."""
        if os.getpid() == self._owner:
            self.kill()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def run(self, *command: str) -> None:
        """Run another program to its end, as the server's user, in its folder."""
        run(command, self.folder, env=self.environment(), account=self.account)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
