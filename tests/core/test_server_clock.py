"""The clock of a server, followed between its answers."""

from __future__ import annotations

import pytest

from progresskit.backends import stores
from progresskit.backends.stores import ServerClock


class Clocks:
    """The clocks of a host and of a server, `ahead` seconds apart."""

    def __init__(self, ahead: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.elapsed, self.ahead = 100.0, ahead
        monkeypatch.setattr(stores, "monotonic", lambda: self.elapsed)
        monkeypatch.setattr(stores, "time", lambda: self.elapsed + 1000)

    @property
    def server(self) -> float:
        return self.elapsed + 1000 + self.ahead

    def ask(self, out: float = 0.0, back: float = 0.0, step: float = 0.0) -> float:
        """Return what the server states, `out` seconds after it was asked and `back` seconds before the answer."""
        self.elapsed += out
        stated = self.server // step * step if step else self.server
        self.elapsed += back
        return stated


@pytest.mark.parametrize("ahead", [0.0, 30.0, -30.0])
def test_a_quick_answer_sets_the_clock(ahead: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(ahead, monkeypatch)
    server_clock = ServerClock()
    server_clock(lambda: clocks.ask(0.001, 0.001))
    clocks.elapsed += 5
    assert server_clock(NotImplemented) == pytest.approx(clocks.server, abs=0.005)


@pytest.mark.parametrize(("out", "back"), [(0.0, 3.0), (3.0, 0.0)])
def test_a_slow_answer_leaves_the_clock_of_a_host_that_agrees_with_it(
    out: float, back: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(0.0, monkeypatch)
    assert ServerClock()(lambda: clocks.ask(out, back)) == pytest.approx(clocks.server, abs=0.005)


@pytest.mark.parametrize("ahead", [0.0, 30.0, -30.0])
def test_whole_seconds_set_the_clock_to_within_one_unless_the_host_agrees(
    ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(ahead, monkeypatch)
    errors = []
    for _ in range(20):
        clocks.elapsed += 0.05
        errors.append(ServerClock(lag=2.0)(lambda: clocks.ask(step=1.0)) - clocks.server)
    assert max(map(abs, errors)) == pytest.approx(0.0 if ahead == 0 else 1.0, abs=0.005)
