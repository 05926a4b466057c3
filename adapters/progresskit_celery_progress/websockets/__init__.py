"""
The same answers over a WebSocket, instead of `celery_progress.websockets`.

Progress is pushed by the kit, so Channels needs no channel layer.
"""

from __future__ import annotations
