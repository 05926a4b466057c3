"""The socket of one task, as a consumer of Channels."""

from __future__ import annotations

import json
import logging
from asyncio import Lock, Task, create_task
from io import BytesIO
from typing import Any

from celery.result import AsyncResult
from django.core.handlers.asgi import ASGIRequest

from progresskit.default_kit import default
from progresskit.integrations import fit_id
from progresskit.registry import missing_package
from progresskit.web import Run, run_of
from progresskit_celery_progress.access import permitted
from progresskit_celery_progress.backend import Progress
from progresskit_celery_progress.once import warn_once
from progresskit_celery_progress.reading import records_of
from progresskit_celery_progress.status import ENDED, KNOWN

try:
    from channels.db import database_sync_to_async
    from channels.generic.websocket import AsyncWebsocketConsumer
except ImportError as error:
    raise missing_package("progresskit_celery_progress.websockets", error, "celery-progress") from error

ASK_SECONDS = 1.0
"""How often Celery, which does not push, is read while progresskit has no updates."""

GOING, REFUSED, FAILED = 1001, 1008, 1011
"""
The codes with which a server closes a socket that it goes away from, does not allow any more, or fails to serve.

RFC 6455, section 7.4.1.
"""

logger = logging.getLogger("progresskit.web")


class ProgressConsumer(AsyncWebsocketConsumer):
    """
    Sends the status of the task when the page asks, and each change from the opening on, until the page leaves.

    The task's id is `task_id` of the route. A socket that the site's `authorize` refuses is not accepted. It is asked
    again before another run or another owner of the job is shown; a socket that it refuses then is closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sent = ""
        self._run: Run | None = None
        self._asked = False
        self._turn = Lock()
        self._sender: Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._sender is not None:
                self._sender.cancel()

    async def connect(self) -> None:
        """Accept the socket, if the page may watch the task."""
        self.task_id = self.scope["url_route"]["kwargs"]["task_id"]
        if not await self._is_permitted():
            await self.close()
            return
        self._sent = json.dumps(await self._read())  # before the page may expect later changes
        await self.accept()
        self._sender = create_task(self._send_updates())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer the page's request for the status; other messages are ignored."""
        if _asks(text_data):
            self._asked = True
            await self._send_changes()

    async def update_task_progress(self, event: dict[str, Any]) -> None:
        """Send the page how the task stands, which is the event's `data`."""
        await self.send(text_data=json.dumps(event["data"]))

    async def _send_updates(self) -> None:
        try:
            settings = None
            while settings != default().settings:  # otherwise it was closed, not reconfigured: it stays closed
                settings = default().settings
                with default().viewer(fit_id(self.task_id)) as viewer:
                    while not viewer.closed:
                        ended = await self._send_changes()
                        await viewer.aget(None if ended else ASK_SECONDS)
            await self.close(GOING)
        except OSError:
            pass  # the page has left
        except Exception:
            logger.exception("The socket of task %s is closed", self.task_id)
            await self.close(FAILED)

    async def _send_changes(self) -> bool:
        """Send the status if the page has asked for it, or if it has changed; return whether the task has ended."""
        async with self._turn:
            info = await self._read()
            if info is None:
                return False
            if not await self._is_of_same_run():
                await self.close(REFUSED)
                return True
            text = json.dumps(info)
            # A page takes an unknown state for the end, so such a state is sent only on request.
            if self._asked or (text != self._sent and info["state"] in KNOWN):
                self._asked, self._sent = False, text
                await self.update_task_progress({"type": "update_task_progress", "data": info})
        return info["state"] in ENDED

    async def _is_permitted(self) -> bool:
        allowed: bool = await database_sync_to_async(permitted)(_request(self.scope), self.task_id)
        return allowed

    async def _is_of_same_run(self) -> bool:
        """Return whether the page may see the job's present run, which is no earlier than the run read before."""
        if default().settings.authorize is None:
            return True
        records = await database_sync_to_async(records_of)([AsyncResult(self.task_id)])
        record = records.get(self.task_id)
        if record is None or run_of(record) == self._run:
            return True
        if not await self._is_permitted():
            return False
        self._run = run_of(record)
        return True

    async def _read(self) -> dict[str, Any] | None:
        """Return how the task stands; None while that cannot be read."""
        try:
            info: dict[str, Any] = await database_sync_to_async(Progress(AsyncResult(self.task_id)).get_info)()
        except Exception as problem:
            warn_once(logger, "No updates for sockets of tasks at the moment: %s: %s", problem)
            return None
        return info


def _request(scope: dict[str, Any]) -> ASGIRequest:
    """Return the opening of a socket as a request for `authorize`, with the attributes that Channels adds."""
    request = ASGIRequest({"method": "GET"} | scope, BytesIO())
    for name in {"session", "user"} & scope.keys():
        setattr(request, name, scope[name])
    return request


def _asks(text: str | None) -> bool:
    try:
        asked = json.loads(text or "null")
    except ValueError:
        return False
    return isinstance(asked, dict) and asked.get("type") == "check_task_completion"
