"""
Which client a request comes from, for the limit on its streams.

An address says that only where it is the client's own. Behind a proxy it is the proxy's, and what the proxy says of the
client in `X-Forwarded-For` can be sent by anybody, but for the last entries, which the site's own proxies add.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .http import Headers

_LONGEST = 64
"""No address is longer."""

_IPV6_NETWORK = 64
"""So many bits of an IPv6 address are the client's network, in which it may take any address."""


def client(peer: str | None, headers: Headers, trusted_proxies: int | None) -> str | None:
    """
    Return what tells the client at an address from others; None where it cannot be told.

    `trusted_proxies` is how many of the site's own proxies a request goes through, None where the site has not said: an
    address that is not one of the internet is taken for that of a proxy then.
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
