from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.terminal.board import Board, Entry, SharedBoard
from tests.terminal.emulator import Emulator

TEXTS = st.text("ab\n\r", min_size=1, max_size=30)
FRAMES = st.lists(st.sampled_from(("━━━ one", "━━━━━━ two", "━")), max_size=4)


@given(steps=st.lists(st.one_of(TEXTS, FRAMES), max_size=30))
def test_text_above_the_bars_is_what_it_is_without_bars(steps: list[str | list[str]]) -> None:
    shown, bare, board = Emulator(20, 8), Emulator(20, 8), Board()
    lines: list[str] = []
    for step in steps:
        text = step if isinstance(step, str) else ""
        lines = lines if isinstance(step, str) else step
        shown.feed(board.change(lines, 1, text))
        bare.feed(text)
        assert (shown.text, shown.below, shown.cursor) == (bare.text, lines, bare.cursor)
    shown.feed(board.change([], 1))
    assert shown.lines == bare.lines


def test_what_another_program_writes_at_the_cursor_ends_in_no_bar() -> None:
    terminal, board = Emulator(), Board()
    terminal.feed(board.change(["━━━━━━ 40%"], 1, "ours\n"))
    terminal.feed("theirs\n")
    terminal.feed(board.change(["━━━━━━ 50%"], 1))
    assert terminal.lines == ["ours", "theirs", "", "━━━━━━ 50%"]


def test_text_is_written_over_no_bar_below_what_another_program_has_written() -> None:
    terminal, board = Emulator(), Board()
    terminal.feed(board.change(["━━━━━━ 40%"], 1, "ours\n"))
    terminal.feed("theirs\n")
    terminal.feed(board.change(["━━━━━━ 50%"], 1, "ours\n"))
    assert terminal.lines == ["ours", "theirs", "ours", "", "━━━━━━ 50%"]


def test_more_lines_than_rows_are_counted() -> None:
    board = Board()
    board.entries = {pid: Entry(3, [f"bar {pid}"] * 3) for pid in (1, 2)}
    assert board.combined(6) == ["bar 1"] * 3 + ["bar 2"] * 3
    assert board.combined(3) == ["bar 1", "bar 1", "  and 4 more"]


def test_lines_of_processes_that_have_ended_are_removed() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    board = Board()
    for pid in (os.getpid(), ended.pid):
        board.entries[pid] = Entry(3, ["bar"])
    board = Board.decode(board.encode() + b"the end of a longer text")
    board.prune()
    assert board.entries == {os.getpid(): Entry(3, ["bar"])}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"[1, 2, 3, 4, 5]", b'[{"x": []}, [], 1, 0, false]', b"\xff"])
def test_a_file_that_holds_no_board_is_an_empty_one(text: bytes) -> None:
    board = Board.decode(text)
    assert (board.entries, board.lines) == ({}, [])


def test_forked_processes_have_one_board() -> None:
    board = SharedBoard()
    pid = os.fork()
    if not pid:
        with board.locked(5, create=True) as shared:
            assert shared is not None
            shared.lines = ["bar"]
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    with board.locked(5, create=False) as shared:
        assert shared is not None
        assert shared.lines == ["bar"]
        shared.lines = []
    with board.locked(5, create=False) as shared:
        assert shared is None, "there are no bars"


def test_a_file_that_has_got_the_number_of_the_board_is_left_alone(tmp_path: Path) -> None:
    board = SharedBoard()
    path = tmp_path / "precious"
    path.write_text("precious")
    with path.open("r+") as file:
        os.dup2(file.fileno(), board._file)
        for _ in range(2):
            with board.locked(5, create=True) as own:
                assert own is not None
                own.lines = ["bar"]
        os.close(board._file)
    assert path.read_text() == "precious"
