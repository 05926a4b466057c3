"""What runs the code of the documentation as its reader does, and looks at the pages it makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def python(*arguments: str, cwd: Path, **env: str) -> str:
    """Run Python in a folder, which it imports from, and return what it prints."""
    paths = [str(cwd), *sys.path]
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONDONTWRITEBYTECODE": "1"} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not process.returncode, process.stdout + process.stderr
    return process.stdout


def address(page: str) -> str:
    """Return the address that the first bar of a page asks."""
    return re.findall(r'<progress-bar src="([^"]+)"', page)[0]  # type: ignore[no-any-return]
