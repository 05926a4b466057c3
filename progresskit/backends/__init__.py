"""
What backends have in common.

The names in the Python reference are public: those of `stores` and `parts`, and of `loops` for libraries of asyncio.
The others serve the adapters of the kit, and may change. `log.LogBackend` is the base for brokers that pass messages on
and store none, with the replica, the messages and the barrier beside it. `ReconnectingThread` keeps a connection to a
server in a thread of its own. `Backoff` gives the pauses between tries, and `keep_inherited` is the rule for the
objects of its parent in a forked child.
"""

from __future__ import annotations

from progresskit.backoff import Backoff

from .forking import keep_inherited
from .reconnecting import ReconnectingThread, Waker

__all__ = ["Backoff", "ReconnectingThread", "Waker", "keep_inherited"]
