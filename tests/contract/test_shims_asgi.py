"""The contract of shims, for asgi."""

from __future__ import annotations

from .shims import suite_of

TestAsgi = suite_of("asgi", __name__)
