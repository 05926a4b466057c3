"""
The same answers over a WebSocket, in the place of `celery_progress.websockets`.

Progress is pushed by the kit, so Channels needs no channel layer.
"""

from __future__ import annotations
