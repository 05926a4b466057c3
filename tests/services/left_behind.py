"""What test_guard.py has pytest run, and kills: it starts all servers there are, and waits for its end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.services import SERVERS, missing, server
from tests.services.nginx import Nginx
from tests.services.waiting import PATIENCE


def test_all_servers_run_and_a_process_that_ignores_its_end() -> None:
    servers = [server(name) for name in SERVERS if missing(name) is None]
    if Nginx.missing() is None:
        servers.append(Nginx({"/": ["http://127.0.0.1:9"]}))
        servers[-1].start()
    daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(9999)"
    subprocess.run([sys.executable, "-c", daemon], check=True, env=os.environ)
    started = Path(os.environ["STARTED"])
    started.with_suffix(".new").write_text("\n".join(str(each.folder) for each in servers))
    started.with_suffix(".new").rename(started)
    time.sleep(PATIENCE)
