"""The faults of a server, each with twenty jobs and three watchers; a module for each server takes its part."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.services.proxy import Proxy
from tests.services.server import Server
from tests.services.waiting import PATIENCE, wait_until

from .failure_modes import failure_modes
from .scenario import Scenario

KILLS = 20
"""How often a server is killed, at least; more often with `--soak`."""

CUTS = 20
PAUSE_SECONDS, REFUSAL_SECONDS = 10.0, 15.0


class Kills:
    """The server of that name in the table of backends is killed again and again, with SIGKILL."""

    name: str

    def test_killed_and_restarted(
        self, server: Server, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
    ) -> None:
        kills = KILLS * pytestconfig.getoption("soak")
        with Scenario(server.fresh(), ends=2 * kills + 1) as scenario:
            scenario.end_some()
            scenario.settle()
            for number in range(1, kills + 1):
                scenario.end_some()  # its last record is on its way, perhaps
                time.sleep(random.uniform(0, 0.1))
                server.kill()
                scenario.end_some()
                server.start()
                if number % 4:
                    time.sleep(random.uniform(0, 0.5))  # the next one comes in the middle of the recovery
                else:
                    scenario.settle()
            scenario.finish()
        record_property("kills", f"{self.name}: {kills}")


class Faults(Kills):
    """All that happens to a server."""

    def test_paused(self, server: Server) -> None:
        with Scenario(server.fresh(), ends=9) as scenario:
            scenario.end_some(3)
            scenario.settle()
            server.pause()
            try:
                scenario.end_some(3)
                time.sleep(PAUSE_SECONDS)
                scenario.end_some(3)
            finally:
                server.resume()
            scenario.settle()
            scenario.finish()

    def test_cut_off_in_the_middle_of_a_write(self, server: Server) -> None:
        with Proxy(server.port) as proxy:
            direct = server.fresh()
            with Scenario(through(proxy, server, direct), ends=2 * CUTS, direct=direct) as scenario:
                scenario.end_some()
                scenario.settle()
                for number in range(CUTS):
                    cut = proxy.cut_after(random.randint(1, 2_000))
                    scenario.end_some()
                    assert cut.wait(PATIENCE), "nobody writes any more"
                    if number % 5 == 0:
                        scenario.settle()
                scenario.finish()

    def test_connections_refused(self, server: Server) -> None:
        with Proxy(server.port) as proxy:
            direct = server.fresh()
            with Scenario(through(proxy, server, direct), ends=9, direct=direct) as scenario:
                scenario.end_some(3)
                scenario.settle()
                proxy.refuse()
                proxy.cut()
                scenario.end_some(3)
                time.sleep(REFUSAL_SECONDS)
                scenario.end_some(3)
                proxy.accept()
                scenario.settle()
                scenario.finish()

    def test_full_or_read_only(self, server: Server) -> None:
        with Scenario(server.fresh(), ends=20) as scenario:
            for name, failing in failure_modes(server).items():
                scenario.end_some(2)
                scenario.settle()
                with failing():
                    scenario.end_some(2)
                    wait_until(lambda: scenario.kit.publisher.down, f"{name} was noticed")
                    scenario.end_some(2)
                wait_until(lambda: not scenario.kit.publisher.down, f"the end of {name} was noticed")
                scenario.settle()
            scenario.finish()


def through(proxy: Proxy, server: Server, url: str) -> str:
    """Return the URL of the same store by way of the proxy."""
    assert f":{server.port}/" in url
    return url.replace(f":{server.port}/", f":{proxy.port}/")
