"""Takes a cancelled job out of Celery's queue."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

from progresskit.progress import State

if TYPE_CHECKING:
    from progresskit.kit import Kit

WAITING = frozenset((State.PENDING, State.RETRYING))


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
                "Celery could not be told to revoke %s, which stop once a worker begins them",
                ", ".join(ids),
                exc_info=True,
            )

    def _revoke(self, ids: list[str]) -> None:
        """
        Have waiting tasks discarded; kill running ones where the site wants that, else they stop by themselves.

        A waiting one counts as cancelled then. If a worker begins it all the same, its run finds that out.
        """
        terminate = self._kit.settings.terminate
        waiting = self._waiting(ids)
        try:
            if revoked := ids if terminate else waiting:
                self._app.control.revoke(revoked, terminate=terminate)
        finally:
            for id in self._waiting(waiting):  # one that has begun meanwhile ends by itself, and not in between
                self._kit.tell(id, State.CANCELLED)

    def _waiting(self, ids: list[str]) -> list[str]:
        return [id for id, progress in self._kit.get_many(ids).items() if progress.state in WAITING]
