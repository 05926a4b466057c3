"""The contract of shims, for flask."""

from __future__ import annotations

from .shims import suite_of

TestFlask = suite_of("flask", __name__)
