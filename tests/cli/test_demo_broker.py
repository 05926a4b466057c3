from __future__ import annotations

import fcntl
import os
import signal
import threading
from importlib import import_module
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from progresskit.cli.demo.broker import steady_transport

MESSAGES = 2_000


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    """Give a connection to a broker of files; kombu has no types of its own."""
    kombu: Any = import_module("kombu")
    for name in ("broker", "control", "processed"):
        (tmp_path / name).mkdir()
    folders = {"data_folder_in": str(tmp_path / "broker"), "data_folder_out": str(tmp_path / "broker")}
    others = {"control_folder": str(tmp_path / "control"), "processed_folder": str(tmp_path / "processed")}
    return kombu.Connection(
        transport=steady_transport(), transport_options=folders | others | {"store_processed": True}
    )


def test_a_message_is_whole_as_soon_as_it_can_be_taken_and_taken_in_order(connection: Any) -> None:
    sender, taker = connection.channel(), connection.channel()

    def send() -> None:
        for number in range(MESSAGES):
            sender._put("celery", {"number": number})

    thread = threading.Thread(target=send)
    thread.start()
    taken: list[int] = []
    while len(taken) < MESSAGES:
        sending = thread.is_alive()  # asked before the look: the last message may come right after it
        try:
            taken.append(taker._get("celery")["number"])
        except Empty:
            assert sending
    thread.join()
    assert taken == list(range(MESSAGES))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_an_exchange_is_bound_from_several_processes_at_once(connection: Any) -> None:
    def bind(name: str) -> None:
        channel = connection.clone().channel()
        for number in range(200):
            channel._queue_bind("exchange", "", "", f"{name}-{number}")
            channel.get_table("exchange")

    children = []
    for name in "abc":
        pid = os.fork()
        if not pid:
            status = 1
            try:
                bind(name)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert len(connection.channel().get_table("exchange")) == 600


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_process_that_is_forked_meanwhile_does_not_keep_the_exchanges_locked(connection: Any, tmp_path: Path) -> None:
    with connection.channel()._alone():
        pid = os.fork()
        if not pid:
            signal.pause()
    try:
        with (tmp_path / "control" / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
