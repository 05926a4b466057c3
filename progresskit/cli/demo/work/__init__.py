"""What the demo's tasks do: real work on real input, reported with `progresskit.track()` and its like."""

from __future__ import annotations
