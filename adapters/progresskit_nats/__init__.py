"""Progress in a key-value bucket of NATS JetStream: `nats://host:4222`, `tls://host:4222`."""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_nats", "nats"):
    from .backend import NATSBackend

__all__ = ["NATSBackend"]
