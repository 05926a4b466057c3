"""How long a call may take, whatever a server does."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.services import patience

PLACES = sorted(
    place
    for name, limits in vars(patience).items()
    if name.isupper() and isinstance(limits, dict)
    for place in limits
    if place.endswith(("_SECONDS", "_MS"))
)


@pytest.mark.parametrize("place", sorted(set(PLACES)))
def test_no_call_waits_longer_than_five_seconds_for_a_server(place: str) -> None:
    module, _, name = place.rpartition(".")
    limit = getattr(import_module(module), name)
    assert 0 < limit <= (5_000 if name.endswith("_MS") else 5)
