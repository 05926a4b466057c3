"""What the component does in Firefox."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.browser.firefox import Firefox
from tests.browser.gallery.stub import Record, Stub, record

ROWS: Record = {"total": 100, "unit": "rows", "description": "Importing"}


@pytest.fixture(scope="module")
def firefox(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with Firefox(program("firefox-esr", "firefox"), tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


def open_bar(firefox: Firefox, stub: Stub) -> str:
    tab = firefox.open(f"{stub.url}/bars.html")
    firefox.until(tab, "'ready' in document.documentElement.dataset")
    firefox.run(tab, "lab.add(['a'], {cancel: ''})")
    return tab


def shows(part: str, text: str) -> str:
    return f"document.querySelector('#a').shadowRoot.querySelector('[part={part}]').textContent === '{text}'"


def test_a_bar_moves_survives_its_server_is_cancelled_and_ends(firefox: Firefox, stub: Stub) -> None:
    stub.put("a", record(1, current=29, **ROWS))
    tab = open_bar(firefox, stub)
    firefox.until(tab, shows("percent", "29%"))
    stub.put("a", record(2, current=30, **ROWS))
    firefox.until(tab, shows("percent", "30%"))
    stub.stop()
    stub.put("a", record(3, current=40, **ROWS))
    stub.start()
    firefox.until(tab, shows("percent", "40%"))
    firefox.run(tab, "document.querySelector('#a').requestCancel()")
    firefox.until(tab, "document.querySelector('#a').dataset.state === 'cancelling'")
    stub.put("a", record(4, current=40, **ROWS, state="cancelled"))
    firefox.until(tab, "document.querySelector('#a').dataset.state === 'cancelled'")

    assert firefox.run(tab, "lab.events.filter(event => event.type === 'done').length") == 1
    firefox.close_tab(tab)


def test_a_tab_takes_over_when_the_leader_is_closed(firefox: Firefox, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    tabs = [open_bar(firefox, stub) for _ in range(2)]
    for tab in tabs:
        firefox.until(tab, shows("percent", "1%"))
    firefox.close_tab(tabs[0])
    stub.put("a", record(2, current=100, **ROWS, state="succeeded"))
    firefox.until(tabs[1], shows("percent", "100%"))
    firefox.close_tab(tabs[1])


def test_a_group_sums_up_its_bars_and_shows_them(firefox: Firefox, stub: Stub) -> None:
    stub.put("a", record(1, current=50, **ROWS))
    tab = open_bar(firefox, stub)
    firefox.run(tab, "import('/progress/progress-group.js')")
    firefox.until(tab, "customElements.get('progress-group') !== undefined")
    firefox.run(
        tab,
        """(() => {
            const group = document.createElement("progress-group");
            document.querySelector("main").append(group);
            group.append(document.querySelector("#a"));
        })()""",
    )
    firefox.until(tab, "document.querySelector('progress-group').job?.percent === 50")
    shown = "document.querySelector('#a').getClientRects().length"
    assert firefox.run(tab, shown) == 0
    firefox.run(tab, "document.querySelector('progress-group').shadowRoot.querySelector('button').click()")
    assert firefox.run(tab, shown) == 1
    stub.put("a", record(2, current=100, **ROWS, state="succeeded"))
    firefox.until(tab, "document.querySelector('progress-group').dataset.state === 'succeeded'")
    firefox.close_tab(tab)
