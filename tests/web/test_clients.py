"""Which client a request comes from, as far as that can be told, and its share of the places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.web.limiter import ConnectionLimiter, client

FAR, OTHER = "93.184.216.34", "198.41.0.4"


def at(peer: str | None, trusted_proxies: int | None = None, forwarded: str | None = None) -> str | None:
    return client(peer, {} if forwarded is None else {"x-forwarded-for": forwarded}, trusted_proxies)


@pytest.mark.parametrize("peer", [None, "", "127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "::ffff:10.0.0.1", "unix:"])
def test_an_address_that_may_be_a_proxys_is_no_client_unless_there_is_no_proxy(peer: str | None) -> None:
    assert at(peer) is None
    assert (at(peer, trusted_proxies=0) is None) == (not peer)


def test_an_address_of_the_internet_is_a_client() -> None:
    assert at(FAR) == at(FAR, trusted_proxies=0) == at(f"::ffff:{FAR}") == FAR


@pytest.mark.parametrize("trusted_proxies", [None, 0])
def test_what_anybody_can_send_is_not_looked_at(trusted_proxies: int | None) -> None:
    assert at(FAR, trusted_proxies, forwarded=OTHER) == FAR


@pytest.mark.parametrize(
    ("trusted_proxies", "forwarded", "found"),
    [
        (1, FAR, FAR),
        (1, f"6.6.6.6, {FAR}", FAR),
        (2, f"6.6.6.6,{FAR} , 10.0.0.2", FAR),
        (1, "10.9.8.7", "10.9.8.7"),
        (1, f"{FAR}:4711", FAR),
        (1, "[2606:2800:220:1::1]:4711", "2606:2800:220:1::/64"),
        (1, "unknown", "unknown"),
        (1, "x" * 99, "x" * 64),
    ],
)
def test_a_proxy_of_the_site_says_who_has_come_to_it(trusted_proxies: int, forwarded: str, found: str) -> None:
    assert at("127.0.0.1", trusted_proxies, forwarded) == found


@pytest.mark.parametrize(("trusted_proxies", "forwarded"), [(1, None), (1, ""), (2, OTHER), (1, f"{OTHER},")])
def test_what_has_not_come_through_the_proxies_is_who_has_connected(
    trusted_proxies: int, forwarded: str | None
) -> None:
    assert at(FAR, trusted_proxies, forwarded) == FAR


def test_a_client_of_ipv6_is_its_network() -> None:
    assert at("2606:2800:220:1::1") == at("2606:2800:220:1:ffff::2") != at("2606:2800:220:2::1")


@given(st.text(max_size=80), st.none() | st.integers(0, 3), st.none() | st.text(max_size=80))
def test_no_address_breaks_anything(peer: str, trusted_proxies: int | None, forwarded: str | None) -> None:
    found = at(peer, trusted_proxies, forwarded)
    assert found is None or 0 < len(found) <= 64


def test_a_place_is_one_of_all_and_one_of_the_clients() -> None:
    limiter = ConnectionLimiter()
    assert [limiter.acquire(3, who, 1) for who in ("a", "a", "b", None, None)] == [True, False, True, True, False]
    limiter.release("a")
    limiter.release(None)
    assert [limiter.acquire(3, who, 1) for who in ("b", "a", None)] == [False, True, True]
    for who in ("a", "b", None):
        limiter.release(who)
    assert limiter.acquired == 0
    assert limiter.acquire(3, "a", 1)
