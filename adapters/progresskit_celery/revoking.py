"""Takes a cancelled job out of Celery's queue."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

from progresskit.progress import State

if TYPE_CHECKING:
    from progresskit.kit import Kit

WAITING = frozenset((State.PENDING, State.RETRYING))

REPLY_SECONDS = 1.0
"""How long to wait for a worker to say that it will not run the tasks."""


class Revoker:
    """
    Called with the ids of cancelled jobs; equal for the same app and kit.

    Works in a thread: whoever cancels, a web server perhaps, does not wait for the broker or hear of its errors.
    """

    def __init__(self, app: Any, kit: Kit) -> None:
        self._app, self._kit = app, kit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Revoker) and (self._app, self._kit) == (other._app, other._kit)

    def __hash__(self) -> int:
        return hash((self._app, self._kit))

    def __call__(self, ids: list[str]) -> None:
        # Not a daemon, so that a script which cancels and exits has cancelled.
        Thread(target=self._try_revoke, args=(ids,), name="progresskit-revoke", daemon=False).start()

    def _try_revoke(self, ids: list[str]) -> None:
        try:
            self._revoke(ids)
        except Exception:
            from logging import getLogger

            getLogger("progresskit").warning(
                "Celery could not be told to revoke %s; it stops once a worker begins it", ", ".join(ids), exc_info=True
            )

    def _revoke(self, ids: list[str]) -> None:
        """
        Have waiting tasks discarded; kill running ones where the site wants that, else they stop by themselves.

        Workers remember what is revoked in their memory only. So `cancelled` is said once one has confirmed, and if
        none does the job goes on waiting, with the request to stop, which its run will find.
        """
        terminate = self._kit.settings.terminate
        waiting = self._waiting(ids)
        if waiting:
            replies = self._app.control.revoke(waiting, terminate=terminate, reply=True, limit=1, timeout=REPLY_SECONDS)
            for id in self._waiting(waiting) if replies else ():
                self._kit.tell(id, State.CANCELLED)
        running = [id for id in ids if id not in waiting]
        if running and terminate:
            self._app.control.revoke(running, terminate=True)

    def _waiting(self, ids: list[str]) -> list[str]:
        return [id for id, progress in self._kit.get_many(ids).items() if progress.state in WAITING]
