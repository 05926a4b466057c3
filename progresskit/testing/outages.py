"""The promises of a backend with a server that can fail."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from progresskit.errors import BackendUnavailable
from progresskit.progress import State

from .helpers import insist, read, write_and_read
from .writes import start, update

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from progresskit.abc import Backend


class OutageContract:
    """
    The promises of a backend with a server that can fail.

    The fixture `outage` returns a context manager, within which writes to the store of `backend` fail.
    """

    def test_what_cannot_be_written_now_says_so_and_can_be_written_later(
        self, backend: Backend, outage: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        insist(lambda: backend.write([start("job", current=1)]))
        with outage():
            for act in (lambda: backend.write([update("job", 2, current=2)]), lambda: backend.request_cancel(["job"])):
                try:
                    act()
                except BackendUnavailable:
                    continue
                raise AssertionError("no error was raised, although the store could not be written to")
        assert write_and_read(backend, update("job", 3, current=3)).current == 3
        assert backend.request_cancel(["job"]) == {"job"}

    def test_forgetting_works_or_says_so_while_the_store_cannot_be_written_to(
        self, backend: Backend, outage: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        insist(lambda: backend.write([start("job", state=State.FAILED)]))
        gone = set[str]()
        with outage(), suppress(BackendUnavailable):  # a server that is short of memory can forget
            gone = backend.forget(["job"])
        assert insist(lambda: backend.forget(["job"])) | gone == {"job"}
        assert backend.read(["job"]) == {}

    def test_reading_works_or_says_so_while_the_store_cannot_be_written_to(
        self, backend: Backend, outage: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        insist(lambda: backend.write([start("job", current=1)]))
        with outage(), suppress(BackendUnavailable):
            assert read(backend, "job").current == 1
        assert insist(lambda: read(backend, "job")).current == 1


class ReplacementContract:
    """
    What a backend promises whose server, or database, can be replaced by another.

    The fixture `replace_server` is called to do so; when it returns, the new one is empty and answers.
    """

    def test_one_write_fails_after_the_server_was_replaced(
        self, backend: Backend, replace_server: Callable[[], None]
    ) -> None:
        insist(lambda: backend.write([start("job"), start("other")]))
        insist(lambda: backend.write([update("job", 2, current=2)]))
        replace_server()
        try:
            backend.write([update("job", 3, current=3)])
        except BackendUnavailable:
            insist(lambda: backend.write([update("job", 3, current=3), update("other", 1)]))
            assert read(backend, "job").current == 3
            backend.write([update("job", 4, current=4)])  # once is enough
        else:
            raise AssertionError("nothing was raised, so the record of the other job is lost")
