"""The content of a bar for browsers without JavaScript: the state of the job when the page was rendered."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from html import escape
from time import monotonic
from typing import TYPE_CHECKING

from progresskit.errors import BackendError
from progresskit.progress import check_id

from .fragments import still

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.kit import Kit
    from progresskit.progress import JobId, Progress

logger = logging.getLogger("progresskit.web")

PAUSE_SECONDS = 5.0
"""The backend is not read for this long after it could not be: a page of many bars waits for it once."""


class Fallback:
    """
    Makes a `<noscript>` for each bar: a browser that runs scripts shows none of it, not even for a moment.

    Safe to be used by many threads.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._paused_until = 0.0

    def html(self, kit: Kit, id: JobId, address: str, record: Progress | None = None) -> str:
        """
        Return the HTML for the job of that id, whose record is at the address.

        The record is read unless it is given. Where reading would block an event loop, or fails, the HTML is a link to
        the record.
        """
        id = check_id(id)
        try:
            if record is None and self._may_read():
                record = kit.get(id)
            elif record is None:
                return _noscript(_link(address))
        except BackendError as error:
            logger.warning("progress cannot be read now: %s", error)
            self._paused_until = self._clock() + PAUSE_SECONDS
            return _noscript(_link(address))
        return _noscript(self._still(kit, id, record))

    def _may_read(self) -> bool:
        asyncio = sys.modules.get("asyncio")
        in_loop = asyncio is not None and asyncio._get_running_loop() is not None
        return not in_loop and self._clock() >= self._paused_until

    def _still(self, kit: Kit, id: str, record: Progress | None) -> str:
        if record is not None and not kit.settings.expose_errors:
            record = record.redacted()
        return still(id, record, datetime.now(UTC))


def _link(address: str) -> str:
    return f'<a class="progresskit-link" href="{escape(address)}?as=html">Show the progress</a>'


def _noscript(html: str) -> str:
    return f"<noscript>{html}</noscript>"
