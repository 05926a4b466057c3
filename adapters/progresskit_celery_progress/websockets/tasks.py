"""Nothing: how a task came out is told by what watches it. The module is here for code that imports it."""

from __future__ import annotations
