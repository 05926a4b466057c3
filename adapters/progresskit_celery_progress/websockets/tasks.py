"""Empty: viewers report the outcome of a task. The module exists for code that imports it."""

from __future__ import annotations
