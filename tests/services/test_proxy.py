"""What tests rely on in the proxy, beside what each of them looks at itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .ports import free_port

ROOT = Path(__file__).parents[2]

LEAVES_IT_OPEN = """
from tests.services.proxy import Proxy

Proxy({target}).__enter__()
"""


def test_a_process_that_leaves_its_proxy_open_ends_all_the_same() -> None:
    script = LEAVES_IT_OPEN.format(target=free_port())
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, timeout=300, check=True)
