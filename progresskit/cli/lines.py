"""Lines by which a command reports progress: JSON objects, or a count and a text such as `3/10 resizing`."""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING, Any

from progresskit import validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from progresskit import ProgressObserver

LONGEST_LINE = 64 * 1024
"""Bytes of the longest line that is read: several times what the largest `meta` takes."""

FIELDS = frozenset(("current", "total", "unit", "description", "meta", "step", "result", "error", "state"))
"""The fields of a JSON line; others are ignored."""

_CHUNK = 256 * 1024

_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)/(\d{1,15}(?:\.\d{1,15})?)", re.ASCII)

BEGINNINGS = frozenset(b"{0123456789 \t")
"""The first bytes of lines that may be reports."""


class LineBuffer:
    """Cuts bytes into lines, at line feeds and carriage returns; a line that is too long is skipped."""

    def __init__(self) -> None:
        self._rest = b""
        self._skips = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that these bytes complete."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end:
            self._hold(data)
            return []
        lines = (self._rest + data[:end]).splitlines()
        if self._skips:
            del lines[0]
        self._rest, self._skips = b"", False
        self._hold(data[end:])
        return [line for line in lines if len(line) <= LONGEST_LINE]

    def _hold(self, data: bytes) -> None:
        self._rest += data
        if self._skips or len(self._rest) > LONGEST_LINE:
            self._rest, self._skips = b"", True

    def finish(self) -> list[bytes]:
        """Return the last line, which no line end completes; the next bytes begin another one."""
        rest, self._rest, self._skips = self._rest, b"", False
        return [rest] if rest else []


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the fields that a line reports; None if it is no report."""
    text = line.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        return _known_fields(text)
    count, _, description = text.partition(" ")
    fields = parse_count(count)
    if fields is not None and description:
        fields["description"] = description.strip()
    return fields


def parse_count(text: str) -> dict[str, Any] | None:
    """Return the fields that `3/10` reports; None for another text."""
    count = _COUNT.fullmatch(text)
    return count and {"current": number(count[1]), "total": number(count[2])}


def _known_fields(text: str) -> dict[str, Any] | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return {name: values[name] for name in FIELDS & values.keys()} or None


def number(digits: str) -> float:
    """Read a number, as an int where it is written as one."""
    return float(digits) if "." in digits else int(digits)


def _error(values: Mapping[str, Any]) -> str | None:
    """Return the reason of a failure that these fields report, as a text or as the `error` of a record."""
    error = values.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    if isinstance(error, str):
        return error
    return "failed" if values.get("state") == "failed" else None


class LineReports:
    """
    Reports lines to a job; safe in several threads.

    As a context manager it leaves the step that the last line was in. `complain` is called once, with a message, for
    the first line that is no report where each line should be one.
    """

    def __init__(self, job: ProgressObserver, complain: Callable[[str], None]) -> None:
        self.error: str | None = None
        """The last error that was reported."""
        self.result: Any = None
        """The last result that was reported."""
        self._job, self._complain = job, complain
        self._complained = False
        self._steps = ExitStack()
        self._step: str | None = None
        self._lock = Lock()

    def take(self, lines: Iterable[bytes]) -> None:
        """Report these lines, each of which should be a report."""
        with self._lock:
            self._take(lines, self._reject)

    def pick(self, lines: Iterable[bytes]) -> None:
        """Report those of the lines that are reports, and ignore the others."""
        candidates = [line for line in lines if line and line[0] in BEGINNINGS]
        if candidates:
            with self._lock:
                self._take(candidates, lambda line: None)

    def _take(self, lines: Iterable[bytes], reject: Callable[[bytes], None]) -> None:
        count: dict[str, Any] = {}
        for line in lines:
            values = parse(line)
            if values is None:
                reject(line)
            elif line.lstrip()[:1] != b"{":
                count |= values  # its values are good ones: of many lines, one report is made
            else:
                self._try_to_report(count)
                count = {}
                if not self._try_to_report(values):
                    reject(line)
        self._try_to_report(count)

    def _try_to_report(self, values: Mapping[str, Any]) -> bool:
        try:
            if values:
                self._report(values)
        except ValueError:  # of a result, and of all values in strict mode: the command must not fail by a report
            return False
        return True

    def _report(self, values: Mapping[str, Any]) -> None:
        step = values.get("step")
        if (error := _error(values)) is not None:
            self.error = error
        if step is not None and step != self._step:
            self._enter(step)
        # In a step, count, total and unit are those of the step.
        reports = self._job.step(self._step) if self._step is not None else self._job
        reports.update(**{name: values.get(name) for name in ("current", "total", "unit", "description", "meta")})
        if values.get("state") == "succeeded":
            reports.update(current=self._job.progress.total)
        if "result" in values:
            self.result = validation.plain(values["result"], validation.RESULT_BYTES)

    def _enter(self, name: str) -> None:
        step = self._job.step(name)  # before the present one is left, which a refused name does not end
        self._steps.close()
        self._steps.enter_context(step)
        self._step = name

    def _reject(self, line: bytes) -> None:
        if line.strip() and not self._complained:
            self._complained = True
            start = line[:80].decode("utf-8", "replace")
            self._complain(f"ignored a line that is no report, and later ones without a message: {start!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.__exit__(kind, error, trace)


class Follower:
    """
    Reads the lines that are added to a file, from its present end on.

    The file may be missing at first, be truncated, and be replaced by another one under its name. It is looked at when
    `read` is called, and not in between.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        self._position = 0
        self._buffer = LineBuffer()
        if self._open():
            self._position = os.fstat(self._file).st_size

    def read(self) -> Iterator[list[bytes]]:
        """Give the lines that were added since the last call, up to this one: others may add without end."""
        if self._file >= 0 or self._open():
            yield from self._rest()
        if self._is_replaced():
            yield from self._rest()  # written after the look above, and before the other file took the place
            yield self._buffer.finish()
            os.close(self._file)
            if self._open():
                yield from self._rest()

    def finish(self) -> Iterator[list[bytes]]:
        """Give the lines that were added since the last call, and the last one also if nothing completes it."""
        yield from self.read()
        yield self._buffer.finish()

    def _open(self) -> bool:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._file = -1
            return False
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            file = -1
        self._file, self._position = file, 0
        return file >= 0

    def _is_replaced(self) -> bool:
        if self._file < 0:
            return False
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except OSError:
            return False  # moved away: written on until there is another one

    def _rest(self) -> Iterator[list[bytes]]:
        size = os.fstat(self._file).st_size
        if size < self._position:
            self._position = 0
            self._buffer.finish()
        while self._position < size and (data := os.pread(self._file, _CHUNK, self._position)):
            self._position += len(data)
            yield self._buffer.feed(data)

    def close(self) -> None:
        """Read no more."""
        if self._file >= 0:
            os.close(self._file)
