"""
What `import progresskit` loads, and how long that takes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import progresskit


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_kit_is_imported_when_it_is_first_used() -> None:
    loaded = "[name for name in sys.modules if name.startswith('progresskit.')]"
    assert run(f"import sys, progresskit; print({loaded})").strip() == "[]"
    assert "progresskit.kit" in run(f"import sys, progresskit; progresskit.observe; print({loaded})")


def test_each_public_name_is_there_and_no_other() -> None:
    run("from progresskit import *; observe, track, capture, Kit, State.RUNNING, Cancelled")
    for name in (*progresskit.__all__, "list"):
        assert getattr(progresskit, name) is not None
    assert set(progresskit.__all__) <= set(dir(progresskit))
    with pytest.raises(AttributeError, match="has no attribute 'observer_of'"):
        progresskit.observer_of  # noqa: B018 - the access raises


def test_a_process_that_forks_while_a_thread_imports_the_kit_has_children_that_can_use_it() -> None:
    code = """
import importlib.abc, os, signal, sys, threading, time
import progresskit

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "progresskit.kit":
            importing.set()
            time.sleep(0.3)  # the fork comes meanwhile
        return None

importing = threading.Event()
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: progresskit.observe)
thread.start()
importing.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    progresskit.current()
    os._exit(0)
thread.join()
print(os.waitpid(child, 0)[1])
"""
    assert run(code).strip() == "0"


@pytest.mark.timing
def test_the_import_takes_half_the_time_of_that_of_asyncio() -> None:
    benchmark = Path(__file__).parents[2] / "benchmarks" / "import_time.py"
    ended = subprocess.run([sys.executable, str(benchmark)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
