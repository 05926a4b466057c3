"""
The suite that every backend has to pass: the promises of `progresskit.abc.Backend`, a test named after each.

The classes use two fixtures of the class that inherits them: `clock`, which `backend` judges leases and ttls by, and
`backend`, on a fresh and empty store. `SharedContract` uses `url` (see there), `OutageContract` uses `outage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.abc import (
    SupportsCancelPush,
    SupportsListing,
    SupportsParts,
    SupportsPush,
)

from .cancellation import CancelContract
from .capabilities import CancelPushContract, ListingContract, PushContract
from .ending import EndContract
from .expiry import KeepContract
from .folding import FoldContract
from .forgetting import ForgetContract
from .parts import PartsContract
from .reuse import ReuseContract
from .sharing import SharedContract
from .undecodable import DecodingContract
from .watching import WatchContract

if TYPE_CHECKING:
    from progresskit.abc import Backend


class BackendContract(
    FoldContract,
    ReuseContract,
    KeepContract,
    CancelContract,
    EndContract,
    ForgetContract,
    WatchContract,
    DecodingContract,
):
    """The promises of every backend."""

    def test_the_suite_has_a_part_for_each_power_of_the_backend(self, backend: Backend) -> None:
        parts = {
            SupportsPush: PushContract,
            SupportsCancelPush: CancelPushContract,
            SupportsListing: ListingContract,
            SupportsParts: PartsContract,
        }
        for capability, part in parts.items():
            assert isinstance(backend, capability) == isinstance(self, part), part.__name__
        assert backend.shared == isinstance(self, SharedContract), "SharedContract"
