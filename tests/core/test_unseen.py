"""A script whose progress nobody can see says so when it ends; whoever looks on, or chose it, is left in peace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REPORT = "for row in progresskit.track(range(3), id='import-42'):\n    pass\n"


def run(folder: Path, code: str, *options: str, url: str | None = None) -> str:
    """Run a script in a process of its own, and return what it writes to standard error."""
    path = folder / "import_rows.py"
    path.write_text(f"import progresskit\n{code}")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PROGRESSKIT_")}
    environ |= {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "adapters")))}
    environ |= {} if url is None else {"PROGRESSKIT_URL": url}
    done = subprocess.run(
        [sys.executable, *(options or (str(path),))],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_script_that_ends_with_its_progress_in_memory_says_so(tmp_path: Path) -> None:
    assert run(tmp_path, REPORT) == (
        "import_rows.py uses memory://, which is seen by this process only: "
        "set PROGRESSKIT_URL, or call progresskit.configure(), in every process\n"
    )


@pytest.mark.parametrize("close", ["", "progresskit.default_kit.default().close()\n"])
def test_a_script_with_a_relative_path_is_shown_which_file_that_was(tmp_path: Path, close: str) -> None:
    (line,) = run(tmp_path, REPORT + close, url="sqlite:///progress.db?timeout=5").splitlines()
    assert line == (
        "import_rows.py uses sqlite:///progress.db?..., which is relative to each process's own folder "
        f"(here it is {tmp_path}/progress.db): set PROGRESSKIT_URL, or call progresskit.configure(), in every process"
    )


@pytest.mark.parametrize(
    "code",
    [
        "",
        "progresskit.current().advance()\n",
        "progresskit.configure('memory://')\n" + REPORT,
        REPORT + "print(progresskit.get('import-42'))\n",
        REPORT + "print(progresskit.list())\n",
        REPORT + "for progress in progresskit.watch('import-42'): pass\n",
        "with progresskit.observe() as job:\n    job.attach(print)\n",
        "import sys\nsys.ps1 = '>>> '\n" + REPORT,
        "import pytest\n" + REPORT,
    ],
    ids=["idle", "silent", "chosen", "get", "list", "watch", "attach", "console", "tests"],
)
def test_a_script_that_looks_itself_or_reports_nothing_is_left_in_peace(tmp_path: Path, code: str) -> None:
    assert run(tmp_path, code) == ""


def test_memory_that_the_environment_chose_is_left_in_peace(tmp_path: Path) -> None:
    assert run(tmp_path, REPORT, url="memory://") == ""


def test_an_absolute_path_is_left_in_peace(tmp_path: Path) -> None:
    assert run(tmp_path, REPORT, url=f"sqlite:///{tmp_path}/progress.db") == ""


def test_what_is_typed_in_is_no_script(tmp_path: Path) -> None:
    assert run(tmp_path, REPORT, "-c", f"import progresskit\n{REPORT}") == ""


def test_only_the_script_warns_and_not_its_children(tmp_path: Path) -> None:
    code = (
        "import multiprocessing\n"
        f"def work():\n    for row in progresskit.track(range(3), id='child'): pass\n"
        "if __name__ == '__main__':\n"
        "    for method in ('fork', 'spawn'):\n"
        "        child = multiprocessing.get_context(method).Process(target=work)\n"
        "        child.start()\n"
        "        child.join()\n"
        f"    {REPORT.replace(chr(10), chr(10) + '    ')}\n"
    )
    assert len(run(tmp_path, code).splitlines()) == 1
