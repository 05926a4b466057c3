"""The setting `allowed_hosts`: which hosts a request may be for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import progresskit
from progresskit.web import sign

from .base import ShimFixtures
from .jobs import running

if TYPE_CHECKING:
    import httpx

LOCAL = (
    "localhost",
    "localhost:8766",
    "LocalHost.",
    "app.localhost",
    "127.0.0.1:80",
    "10.1.2.3",
    "[::1]",
    "[fe80::1]:8766",
)
"""Hosts that no page of another site can be named by: they have no name, or one that no DNS resolves."""

ELSEWHERE = ("evil.example", "evil.example:8766", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost")


def asked(client: httpx.Client, host: str, path: str, method: str = "GET") -> httpx.Response:
    return client.request(method, path, headers={"Host": host, "X-Progresskit": "1"})


def is_refused_for_its_host(response: httpx.Response) -> bool:
    return (
        response.status_code == 400
        and response.headers["Content-Type"] == "application/problem+json"
        and "allowed_hosts" in response.json()["detail"]
    )


class AllowedHostsContract(ShimFixtures):
    """Which hosts are served where the site names some."""

    @pytest.mark.parametrize("host", ["www.example.com", "WWW.Example.COM:8080", "example.org", "a.b.example.org"])
    def test_hosts_that_are_allowed_are_served(self, client: httpx.Client, id: str, key: str, host: str) -> None:
        progresskit.configure("memory://", allowed_hosts=["www.example.com", ".example.org"])
        with running(id):
            assert asked(client, host, f"{key}/").status_code == 200

    @pytest.mark.parametrize("host", [*ELSEWHERE, "example.com", "www.example.com.evil.example", "evilexample.org"])
    def test_no_other_host_is_served_whatever_is_asked(
        self, client: httpx.Client, id: str, key: str, host: str
    ) -> None:
        progresskit.configure("memory://", allowed_hosts=["www.example.com", ".example.org"], max_streams=0)
        with running(id):
            for path in (
                f"{key}/",
                f"{key}/events/",
                f"?key={key}",
                f"events/?key={key}",
                "progresskit.js",
            ):
                assert is_refused_for_its_host(asked(client, host, path)), path
            assert is_refused_for_its_host(asked(client, host, f"{sign(id, 'cancel')}/cancel/", "POST"))
            assert not progresskit.get(id).cancel_requested  # type: ignore[union-attr]

    def test_an_asterisk_allows_all(self, client: httpx.Client, id: str, key: str) -> None:
        progresskit.configure("memory://", allowed_hosts=["*"])
        with running(id):
            for host in (*LOCAL, *ELSEWHERE):
                assert asked(client, host, f"{key}/").status_code == 200
