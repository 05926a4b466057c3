"""
The hosts that requests may be for.

Any site can let its own name resolve to this server (DNS rebinding). A browser takes this server for that site then,
and lets its pages read the answers; only the name, which the browser sends in `Host`, reveals it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from progresskit.errors import ConfigurationError

_LONGEST = 300
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_PATTERN = re.compile(r"\*|\.?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f]*:[0-9a-f:.]+")


class Hosts(NamedTuple):
    """Hosts by their names or patterns, and whether all addresses are allowed: a request for one did not use a name."""

    patterns: tuple[str, ...] = ()
    addresses: bool = False

    def allow(self, host: str) -> bool:
        """Return whether a request may be for this host, in the form of a header."""
        return len(host) <= _LONGEST and _allowed(self, host)


def own_hosts(bound: str) -> Hosts:
    """Return those by which a server is known that listens at a host: that one, this machine's own, and addresses."""
    return Hosts(("localhost", ".localhost", _canonical(bound.lower())), addresses=True)


def patterns(value: Any) -> tuple[str, ...]:
    """
    Return the hosts of a setting, a list or a text with commas; raise ConfigurationError for an invalid one.

    `.example.com` is that host and all below it, `*` is any. A port is no part of one.
    """
    hosts = value.split(",") if isinstance(value, str) else value
    if not isinstance(hosts, list | tuple | set | frozenset) or not all(isinstance(host, str) for host in hosts):
        raise ConfigurationError(f"allowed_hosts must be a list such as ['www.example.com'], not {value!r}")
    return tuple(_pattern(host) for host in hosts if host.strip())


def _pattern(given: str) -> str:
    pattern = _canonical(given.strip().lower())
    if _PATTERN.fullmatch(pattern) is None:
        raise ConfigurationError(
            "allowed_hosts has hosts without a scheme or a port, such as 'www.example.com', '.example.com' for that "
            f"and all below it, or '*' for any, not {given!r}"
        )
    return pattern


@lru_cache(1_000)
def _allowed(hosts: Hosts, host: str) -> bool:
    found = _HOST.fullmatch(host.strip().lower())
    if found is None:
        return False
    name = _canonical(found[1])
    return (hosts.addresses and _is_address(name)) or any(_matches(name, pattern) for pattern in hosts.patterns)


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("."):
        return name == pattern[1:] or name.endswith(pattern)
    return pattern in ("*", name)


def _canonical(name: str) -> str:
    from ipaddress import ip_address

    name = name.removesuffix(".").removeprefix("[").removesuffix("]")
    return str(ip_address(name)) if _is_address(name) else name


def _is_address(name: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(name)
    except ValueError:
        return False
    return True
