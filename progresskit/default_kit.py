"""
The default kit, whose methods are the functions of `progresskit`.

It is made at import and, like every kit, opens nothing before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .kit import Kit

if TYPE_CHECKING:
    from collections.abc import Mapping

_default = Kit()


def default() -> Kit:
    """Return the default kit."""
    return _default


def host_settings(settings: Mapping[str, Any], *, check: bool = True) -> None:
    """Give the default kit the settings of the host framework; see `Kit.host_settings`."""
    _default.host_settings(settings, check=check)
