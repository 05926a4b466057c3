"""
The client of a request, for the limit on its streams.

The address of the connection identifies the client only without a proxy. Behind one, it is the proxy's; any client can
send `X-Forwarded-For`, so only its last entries count, which the site's own proxies add.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .http import Headers

_LONGEST = 64
"""No address is longer."""

_IPV6_NETWORK = 64
"""Bits of an IPv6 address that identify the client's network, in which it may take any address."""


def client(peer: str | None, headers: Headers, trusted_proxies: int | None) -> str | None:
    """
    Return the key of the client at an address; None where it cannot be identified.

    `trusted_proxies` is the number of the site's own proxies that a request passes; with None, an address that is not
    public counts as that of a proxy.
    """
    if trusted_proxies:
        entries = (headers.get("x-forwarded-for") or "").split(",")
        # Fewer entries than proxies: it has not come through them.
        added = entries[-trusted_proxies].strip() if len(entries) >= trusted_proxies else ""
        peer = added or peer
    return _network(peer[:_LONGEST], anywhere=trusted_proxies is not None) if peer else None


@lru_cache(1_000)
def _network(address: str, anywhere: bool) -> str | None:
    from ipaddress import IPv6Address, ip_address, ip_network

    try:
        found = ip_address(_without_port(address))
    except ValueError:
        return address if anywhere else None
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    if not (anywhere or found.is_global):
        return None
    if isinstance(found, IPv6Address):
        return str(ip_network((found.packed, _IPV6_NETWORK), strict=False))
    return str(found)


def _without_port(address: str) -> str:
    """Return an address without the port that some proxies add, and the brackets that go with it."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
