"""
The suite that every shim for a web framework has to pass, over real sockets; a test is named after each promise.

It runs in the process that serves the shim. With pytest and httpx installed (`progresskit[testing]`), this is the whole
proof of a third party's shim:

    import pytest
    from progresskit.testing import ShimContract
    from progresskit.web import host_settings

    @pytest.fixture(scope="module")
    def base_url():                          # the address of the mount, without a slash at its end
        host_settings({"secret_key": "a secret for the tests"})
        with serving(my_application()) as site:
            yield f"{site}/progress"
        host_settings({})

    class TestMine(ShimContract):
        threaded = True                      # a stream keeps a thread; False in an event loop

A framework whose requests have no `headers.get` overrides `user_of`.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit.testing", "testing"):
    import httpx  # noqa: F401

from .allowed import AllowedHostsContract
from .cancels import CancelRequestContract
from .events import EventsContract
from .files import FilesContract
from .limits import LimitsContract
from .records import RecordsContract
from .refusals import RefusalsContract
from .reports import ReportsContract
from .runs import RunsContract
from .users import UsersContract

__all__ = ["ShimContract"]


class ShimContract(
    RecordsContract,
    EventsContract,
    CancelRequestContract,
    ReportsContract,
    FilesContract,
    LimitsContract,
    RefusalsContract,
    AllowedHostsContract,
    RunsContract,
    UsersContract,
):
    """The promises of every shim."""
