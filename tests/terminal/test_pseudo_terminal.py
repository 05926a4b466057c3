"""The bars of a process in its own terminal, beside what it writes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cli.processes import in_a_terminal
from tests.terminal.emulator import Emulator

BAR = re.compile(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] [A-Z][a-z ]+  [━╸─]+")

THREADS = """
import logging, sys, threading, time, traceback, progresskit
logging.basicConfig(level=logging.INFO, format="%(message)s")
def work(name, stream):
    with progresskit.observe(description=name, total=40) as job:
        for row in range(40):
            job.advance()
            time.sleep(0.02)
            if row % 10 == 3:
                stream.write(f"{name} writes {row}: {'x' * 100}\\n")
            if row % 10 == 7:
                logging.info("%s logs %d", name, row)
threads = [threading.Thread(target=work, args=arguments) for arguments in (("One", sys.stdout), ("Other", sys.stderr))]
for thread in threads: thread.start()
try: 1 / 0
except ZeroDivisionError: traceback.print_exc()
for thread in threads: thread.join()
for row in progresskit.track(range(3), description="Third"):
    print(row, end="" if row < 2 else "\\n")
    time.sleep(0.15)
sys.exit("the end")
"""

WAITING = """
import time, progresskit
with progresskit.observe(description="Waiting"):
    time.sleep(600)
"""

PROCESSES = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
import multiprocessing, time, progresskit
def work(name, rows):
    with progresskit.observe(description=name, total=rows) as job:
        for row in range(rows):
            print(f"{name} prints {row}")
            job.advance()
            time.sleep(0.02)
        are_shown.wait(60)
context = multiprocessing.get_context("fork")
are_shown = context.Event()
progresskit.observe("before").succeed()
started = [context.Process(target=work, args=arguments) for arguments in (("One", 20), ("Other", 30), ("Lost", 9999))]
for process in started: process.start()
signal.sigwait({signal.SIGUSR1})
are_shown.set()
for process in started[:2]: process.join()
os.kill(started[2].pid, signal.SIGKILL)
started[2].join()
print("all joined")
"""

SPAWNED = """
import progresskit
with progresskit.observe(description="Owner") as job:
    import os, subprocess, sys
    subprocess.run([sys.executable, "-c", "import progresskit; progresskit.observe('other').succeed()"])
"""

HALTED = """
import multiprocessing, termios, progresskit
def work():
    with progresskit.observe(description="Halted"):
        termios.tcflow(2, termios.TCOOFF)
    has_ended.set()
context = multiprocessing.get_context("fork")
has_ended = context.Event()
process = context.Process(target=work)
process.start()
has_ended.wait(60)
termios.tcflow(2, termios.TCOON)
process.join()
"""

DOTS = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
import progresskit
with progresskit.observe(description="Dots"):
    signal.sigwait({signal.SIGUSR1})
    print("...", end="")
    signal.sigwait({signal.SIGUSR1})
"""

TQDM = """
import time, progresskit, tqdm
with progresskit.observe(description="With tqdm", total=2) as job:
    for _ in tqdm.tqdm(range(2), desc="outer"):
        for _ in tqdm.tqdm(range(8), desc="inner", leave=False, mininterval=0):
            time.sleep(0.05)
        job.advance()
    tqdm.tqdm.write("between")
    print("no newline", end="")
"""


Act = Callable[[subprocess.Popen[bytes], str], None]


def send_when(number: signal.Signals, *patterns: str) -> Act:
    """Return what sends the signal once for each pattern, when that is found in what the process has written."""
    left = [*patterns]

    def act(process: subprocess.Popen[bytes], written: str) -> None:
        if left and re.search(left[0], written):
            del left[0]
            process.send_signal(number)

    return act


def do_nothing(process: subprocess.Popen[bytes], written: str) -> None:
    """Let the process run to its end."""


def run(script: str, folder: Path, act: Act = do_nothing, unbuffered: str = "") -> tuple[Emulator, int, str]:
    written, code = in_a_terminal(
        [sys.executable, "-c", script],
        act,
        PROGRESSKIT_OBSERVERS="terminal",
        TMPDIR=str(folder),
        NO_COLOR="1",
        PYTHONUNBUFFERED=unbuffered,
    )
    terminal = Emulator()
    for frame in re.split(r"(?<=\x1b8)", written):
        terminal.feed(frame)
        assert all(BAR.match(line) for line in terminal.below if line and not line.startswith("inner")), terminal.below
    assert terminal.below == []
    assert [*folder.iterdir()] == []
    return terminal, code, written


def test_what_threads_write_is_above_the_bars_and_whole(tmp_path: Path) -> None:
    terminal, code, written = run(THREADS, tmp_path)
    assert code == 1
    assert len({*BAR.findall(written)}) > 2
    text = "\n".join(terminal.text)
    for name in ("One", "Other"):
        rows = [f"{name} writes {row}: {'x' * 100}"[:80] for row in range(3, 40, 10)]
        assert [line for line in terminal.text if line.startswith(f"{name} writes")] == rows
        assert [line for line in terminal.text if f"{name} logs" in line] == [
            f"{name} logs {n}" for n in range(7, 40, 10)
        ]
        assert len(re.findall(rf"^✔ {name} +━+ +100% +done in \d+s · 40$", text, re.MULTILINE)) == 1
    assert "Traceback (most recent call last):\n" in text
    assert "\nZeroDivisionError: division by zero\n" in text
    assert [line[:7] for line in terminal.text[-3:]] == ["012", "✔ Third", "the end"]


def test_an_interrupted_process_leaves_no_bar_behind(tmp_path: Path) -> None:
    terminal, code, _ = run(WAITING, tmp_path, send_when(signal.SIGINT, "Waiting"))
    assert code == -signal.SIGINT
    assert re.match(r"■ Waiting +─+ +stopped early", terminal.text[0])
    assert terminal.text[-1] == "KeyboardInterrupt"


def test_processes_that_were_forked_share_the_terminal(tmp_path: Path) -> None:
    all_in_a_frame = "".join(rf"(?=(?:(?!\x1b8).)*{name} +[━╸─])" for name in ("One", "Other", "Lost"))
    terminal, code, written = run(PROCESSES, tmp_path, send_when(signal.SIGUSR1, rf"(?s)\x1b7{all_in_a_frame}"))
    assert code == 0
    frames = [{*re.findall(r"\S (\w+) +[━╸─]+", frame)} for frame in re.split("\x1b8", written)]
    assert {"One", "Other", "Lost"} in frames
    for name, rows in (("One", 20), ("Other", 30)):
        assert [line for line in terminal.text if line.startswith(f"{name} prints")] == [
            f"{name} prints {row}" for row in range(rows)
        ]
        assert len([line for line in terminal.text if line.startswith(f"✔ {name} ")]) == 1
    assert terminal.text[-1] == "all joined"


def test_the_last_line_of_a_forked_process_waits_while_the_terminal_takes_no_text(tmp_path: Path) -> None:
    terminal, code, _ = run(HALTED, tmp_path)
    assert (code, [line[:8] for line in terminal.text]) == (0, ["✔ Halted"])


def test_bars_of_tqdm_are_not_torn(tmp_path: Path) -> None:
    terminal, _, written = run(TQDM, tmp_path)
    assert BAR.search(written)
    assert [line[:11] for line in terminal.text[:2]] == ["outer: 100%", "between"]
    assert {line[:11] for line in terminal.text[2:]} == {"✔ With tqdm", "no newline"}


def test_text_without_a_newline_is_seen_soon_where_the_stream_has_no_buffer(tmp_path: Path) -> None:
    terminal, code, _ = run(DOTS, tmp_path, send_when(signal.SIGUSR1, "Dots", r"\.\.\."), unbuffered="1")
    assert (code, terminal.text[0]) == (0, "...")


def test_another_program_in_the_terminal_writes_lines_while_bars_are_drawn(tmp_path: Path) -> None:
    terminal, code, _ = run(SPAWNED, tmp_path)
    assert code == 0
    assert re.match(r"\d\d:\d\d:\d\d other succeeded 100%", terminal.text[-2])
    assert terminal.text[-1].startswith("✔ Owner")
