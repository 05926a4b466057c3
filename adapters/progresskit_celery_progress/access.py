"""Access to tasks: every client that has an id, unless the site sets `authorize`."""

from __future__ import annotations

import logging
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync

from progresskit.default_kit import default

if TYPE_CHECKING:
    from collections.abc import Awaitable

logger = logging.getLogger("progresskit.web")


def permitted(request: Any, id: str) -> bool:
    """Ask the site's `authorize`, which may be async, whether the id may be watched; one that fails refuses."""
    default().warn_unshared("a web server")
    authorize = default().settings.authorize
    if authorize is None:
        return True
    try:
        verdict = authorize(request, id, "watch")
        return bool(async_to_sync(_finish)(verdict) if isawaitable(verdict) else verdict)
    except Exception:
        logger.exception("authorize() failed; the request is refused")
        return False


async def _finish(verdict: Awaitable[Any]) -> Any:
    return await verdict
