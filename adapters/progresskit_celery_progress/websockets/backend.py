"""The recorder by its other name: the reports of every recorder are pushed to open sockets."""

from __future__ import annotations

from typing import Any

from progresskit_celery_progress.backend import ProgressRecorder

__all__ = ["WebSocketProgressRecorder"]


class WebSocketProgressRecorder(ProgressRecorder):
    """Reports to the job of a bound task, as its base does."""

    @staticmethod
    def push_update(task_id: str, data: Any, final: bool = False) -> None:
        """Do nothing: the socket's own viewer sends updates. The method exists for code that calls it."""
