"""The recorder by its other name: what any recorder reports is pushed to those who watch."""

from __future__ import annotations

from typing import Any

from progresskit_celery_progress.backend import ProgressRecorder

__all__ = ["WebSocketProgressRecorder"]


class WebSocketProgressRecorder(ProgressRecorder):
    """Reports to the job of a bound task, as its base does."""

    @staticmethod
    def push_update(task_id: str, data: Any, final: bool = False) -> None:
        """Nothing: pages are told by what watches the job. It is here for code that calls it."""
