"""
The limit on the streams and long polls of the process, and on those of one client.

The address of the connection identifies the client only without a proxy. Behind one, it is the proxy's; any client can
send `X-Forwarded-For`, so only its last entries count, which the site's own proxies add.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .request import Headers

_LONGEST = 64
"""No address is longer."""

_IPV6_NETWORK = 64
"""Bits of an IPv6 address that identify the client's network, in which it may take any address."""


class ConnectionLimiter:
    """
    Counts the connections that the process keeps open, in all and per client.

    Each `acquire` that returned True needs one `release` for the same client. Safe to be used by many threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._clients: dict[str, int] = {}
        self.acquired = 0
        """How many are held now."""

    def acquire(self, limit: int, client: str | None = None, client_limit: int = 0) -> bool:
        """Take a place and return True; return False at the limit, or at that of this client, if it is known."""
        with self._lock:
            if self.acquired >= limit or not self._count(client, client_limit):
                return False
            self.acquired += 1
            return True

    def transfer(self, client: str | None, to: str | None, client_limit: int) -> bool:
        """Move a connection from one client to another; return False, without a change, at the limit of the latter."""
        with self._lock:
            if not self._count(to, client_limit):
                return False
            self._discount(client)
            return True

    def release(self, client: str | None = None) -> None:
        """Give one place back."""
        with self._lock:
            self.acquired -= 1
            self._discount(client)

    def _count(self, client: str | None, limit: int) -> bool:
        if client is None:
            return True
        held = self._clients.get(client, 0)
        if held >= limit:
            return False
        self._clients[client] = held + 1
        return True

    def _discount(self, client: str | None) -> None:
        if client is not None:
            left = self._clients[client] - 1
            if left:
                self._clients[client] = left
            else:
                del self._clients[client]


PROCESS_LIMITER = ConnectionLimiter()
"""The one of this process: its threads are shared by all kits in it."""


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
