"""Shared by the parts of the shim contract: the served shim, a client, and the kit whose jobs it shows."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import pytest

import progresskit
from progresskit.web import Surface, sign

from .clients import described_client, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

NUMBERS = count()


class ShimFixtures:
    """
    The fixtures, and the attributes by which a subclass describes its shim.

    They use a fixture of the test module, `base_url`: the address at which the shim of the default kit is mounted.
    """

    threaded: ClassVar[bool] = True
    """True where a stream keeps a thread, which is lent for `stream_seconds`; False where it is served by a loop."""

    any_method: ClassVar[bool] = True
    """True where requests with a method that HTTP does not define reach the shim; some servers refuse them."""

    aborts: ClassVar[bool] = False
    """True where each `Request` has `abort`, which cuts off a thread whose client stopped reading."""

    def user_of(self, request: Any) -> str | None:
        """Return the header `X-User` of the framework's request, as `authorize` receives it."""
        name: str | None = request.headers.get("X-User")
        return name

    @pytest.fixture(autouse=True)
    def kit(self, base_url: str) -> Iterator[None]:
        """Begin with an empty store; check that no place of the limiter is left acquired."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(
                "PROGRESSKIT_FLUSH_SECONDS", "60"
            )  # the reports of a test are stored, however busy the machine is
            progresskit.configure("memory://")
            yield
            assert eventually(lambda: Surface().limiter.acquired == 0)
        progresskit.configure()

    @pytest.fixture
    def client(self, base_url: str) -> Iterator[httpx.Client]:
        """Give a client that fails on each answer outside of the OpenAPI description."""
        with described_client(f"{base_url}/") as client:
            yield client

    @pytest.fixture
    def origin(self, base_url: str) -> str:
        """Return the origin of the site that the shim is part of."""
        parts = urlsplit(base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @pytest.fixture
    def id(self) -> str:
        """Return an id that no other test uses."""
        return f"import-{next(NUMBERS)}"

    @pytest.fixture
    def key(self, id: str) -> str:
        """Return a key to watch that job."""
        return sign(id)


def signing_key() -> str:
    """Return the secret that the default kit signs with."""
    keys = Surface().kit.settings.secret_key
    assert keys, "the default kit needs a secret key while the shim is served"
    return keys if isinstance(keys, str) else keys[0]
