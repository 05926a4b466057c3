"""The contract of shims, for serve."""

from __future__ import annotations

from .shims import suite_of

TestServe = suite_of("serve", __name__)
