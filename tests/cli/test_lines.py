"""Lines of progress, and the file that they are appended to."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.cli.lines import BEGINNINGS, LONGEST_LINE, Follower, LineBuffer, parse


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        (b"3/10", {"current": 3, "total": 10}),
        (b"3/10 ", {"current": 3, "total": 10}),
        (b"  3/10  resizing a.png ", {"current": 3, "total": 10, "description": "resizing a.png"}),
        (b"0.5/1.5 \xc3\xa9t\xff", {"current": 0.5, "total": 1.5, "description": "\u00e9t\ufffd"}),
        (b'{"current": 3, "level": "info", "meta": {"a": [1]}}', {"current": 3, "meta": {"a": [1]}}),
        (b'{"step": "Parse", "state": "running"}', {"step": "Parse", "state": "running"}),
        (b'{"level": "info"}', None),
        (b'{"current": 3', None),
        (b'["current"]', None),
        (b"[" * 50_000, None),
        (b'{"meta": ' * 9_000, None),
        (b"11/29/2026 begins", None),
        (b"3/10ths", None),
        (b"-1/10", None),
        (b"9" * 60 + b"/1", None),
        (b"3 of 10", None),
    ],
)
def test_a_line_reports_a_count_or_the_known_fields_of_an_object(line: bytes, reported: object) -> None:
    assert parse(line) == reported
    assert reported is None or line[0] in BEGINNINGS


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b""))), st.data())
def test_lines_are_the_same_however_their_bytes_arrive(lines: list[bytes], data: st.DataObject) -> None:
    rest = b"".join(line + data.draw(st.sampled_from([b"\n", b"\r", b"\r\n"])) for line in lines) + b"the last"
    buffer, found = LineBuffer(), list[bytes]()
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += buffer.feed(rest[:size])
        rest = rest[size:]
    assert [line for line in found if line] == [line for line in lines if line]
    assert buffer.finish() == [b"the last"]
    assert buffer.finish() == []


@pytest.mark.parametrize("size", [100, LONGEST_LINE + 1, 300_000])
def test_a_line_that_is_too_long_is_skipped_and_the_next_one_is_read(size: int) -> None:
    data, buffer = b"1/3\n" + b"2" * 3 * LONGEST_LINE + b"\n3/3\n", LineBuffer()
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    assert [line for chunk in chunks for line in buffer.feed(chunk)] == [b"1/3", b"3/3"]


def added(follower: Follower) -> list[bytes]:
    return [line for lines in follower.read() for line in lines]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_file_is_followed_from_its_present_end_through_half_lines_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    path.write_bytes(b"1/9\n")
    with closing(Follower(str(path))) as follower:
        assert added(follower) == []
        append(path, b"2/9\n3/")
        assert added(follower) == [b"2/9"]
        append(path, b"9\n")
        assert added(follower) == [b"3/9"]
        append(path, b"half")
        assert added(follower) == []
        path.write_bytes(b"4/9\n")  # truncated, and the half line is gone
        assert added(follower) == [b"4/9"]
        append(path, b"5/9")
        assert [line for lines in follower.finish() for line in lines] == [b"5/9"]


def test_what_is_added_while_a_file_is_read_waits_for_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    with closing(Follower(str(path))) as follower:
        append(path, b"1/9\n")
        found = list[bytes]()
        for lines in follower.read():
            found += lines
            append(path, b"2/9\n")
            assert len(found) < 10, "a call that does not end"
        assert found == [b"1/9"]
        assert added(follower) == [b"2/9"]


def test_a_file_that_is_rotated_is_read_to_its_end_and_then_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    with closing(Follower(str(path))) as follower:
        assert added(follower) == []  # not there yet
        path.write_bytes(b"1/9\n")
        assert added(follower) == [b"1/9"]
        path.rename(tmp_path / "progress.1")
        append(tmp_path / "progress.1", b"2/9\n")  # by a process that has it open
        assert added(follower) == [b"2/9"]
        append(tmp_path / "progress.1", b"3/9")
        path.write_bytes(b"4/9\n")
        assert added(follower) == [b"3/9", b"4/9"]
        path.unlink()
        os.mkfifo(path)
        assert added(follower) == []  # which is no file to follow, and does not block
        path.unlink()
        path.write_bytes(json.dumps({"current": 5}).encode() + b"\n")
        assert added(follower) == [b'{"current": 5}']
