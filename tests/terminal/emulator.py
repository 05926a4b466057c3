"""A terminal that keeps what a user would see, for the few control sequences that are used."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b([78D])|([\r\n])|([^\x1b\r\n]+)")


class Emulator:
    """A screen of so many columns and rows; `lines` are all rows that there were, those that were scrolled out too."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._columns, self._rows = columns, rows
        self._top: list[str] = []
        self._screen = [""] * rows
        self._row = self._column = 0
        self._saved = (0, 0)

    @property
    def lines(self) -> list[str]:
        """All rows down to the last one that is not empty."""
        return _trimmed([*self._top, *self._screen])

    @property
    def text(self) -> list[str]:
        """The rows down to that of the cursor."""
        return _trimmed([*self._top, *self._screen[: self._row + 1]])

    @property
    def below(self) -> list[str]:
        """The rows below the cursor."""
        return _trimmed(self._screen[self._row + 1 :])

    @property
    def cursor(self) -> tuple[int, int]:
        """The row of the cursor, counted from the first one, and its column."""
        return len(self._top) + self._row, self._column

    def feed(self, text: str) -> None:
        end = 0
        for found in _TOKEN.finditer(text):
            assert found.start() == end, text[end : found.start()]
            end = found.end()
            number, command, simple, move, printed = found.groups()
            if printed is not None:
                self._print(printed)
            elif move is not None:
                self._column = 0  # a terminal device makes "\r\n" of "\n"
                if move == "\n":
                    self._index()
            elif simple is not None:
                self._simple(simple)
            else:
                self._control(command, int(number) if number.isdigit() else 0)
        assert end == len(text), text[end:]

    def _print(self, text: str) -> None:
        for character in text:
            if self._column == self._columns:
                self._column = 0
                self._index()
            line = self._screen[self._row].ljust(self._columns)
            self._screen[self._row] = line[: self._column] + character + line[self._column + 1 :]
            self._column += 1

    def _index(self) -> None:
        if self._row == self._rows - 1:
            self._top.append(self._screen.pop(0))
            self._screen.append("")
        else:
            self._row += 1

    def _simple(self, command: str) -> None:
        if command == "7":
            self._saved = self._row, self._column
        elif command == "8":
            self._row, self._column = self._saved
        else:
            self._index()

    def _control(self, command: str, number: int) -> None:
        if command == "A":
            self._row = max(self._row - (number or 1), 0)
        elif command == "B":
            self._row = min(self._row + (number or 1), self._rows - 1)
        elif command in "JK":
            assert number == (2 if command == "K" and number else 0)
            self._screen[self._row] = self._screen[self._row][: 0 if number else self._column]
            if command == "J":
                self._screen[self._row + 1 :] = [""] * (self._rows - self._row - 1)
        else:
            assert command in "mhl", command  # colours, and whether the cursor is shown


def _trimmed(rows: list[str]) -> list[str]:
    shown = [row.rstrip() for row in rows]
    while shown and not shown[-1]:
        shown.pop()
    return shown
