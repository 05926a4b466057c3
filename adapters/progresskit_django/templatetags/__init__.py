"""Template tags of progresskit."""

from __future__ import annotations
