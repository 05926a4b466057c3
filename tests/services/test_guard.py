"""A run of pytest that is killed leaves nothing behind of what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .guard import is_marked, processes, with_descendants
from .process import is_alive
from .waiting import wait_until

RUN = Path(__file__).with_name("left_behind.py")


@pytest.mark.parametrize(("number", "more"), [(signal.SIGTERM, []), (signal.SIGKILL, ["-n1"])], ids=["alone", "xdist"])
def test_a_killed_run_leaves_no_process_and_no_folder(number: int, more: list[str], tmp_path: Path) -> None:
    started, mark = tmp_path / "started", f"killed-{os.urandom(8).hex()}"
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", str(RUN), "-p", "no:cacheprovider", *more],
        cwd=RUN.parents[2],
        env=os.environ | {"STARTED": str(started), "MARK": mark},
    )
    try:
        wait_until(lambda: started.exists() or run.poll() is not None, "all servers run")
        assert run.poll() is None
        left = with_descendants({pid for pid in processes() if is_marked(pid, mark.encode())})
        assert len(left) > 5
    finally:
        run.send_signal(number)
        run.wait()
    wait_until(lambda: not any(map(is_alive, left)), f"processes {left} are gone")
    wait_until(lambda: not any(Path(folder).exists() for folder in started.read_text().split()), "folders are removed")
