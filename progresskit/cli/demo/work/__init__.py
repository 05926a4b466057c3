"""The work of the demo's tasks: real work on real input, reported with `progresskit.track()` and `observe()`."""

from __future__ import annotations
