"""The examples for the callbacks of libraries, each run with the library itself and a real server of its kind."""

from __future__ import annotations

import ftplib
import gc
import gzip
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import progresskit
from progresskit import Cancelled, ProgressObserver, State
from progresskit.testing.helpers import until
from tests.services.s3 import BUCKET, S3Server
from tests.services.threads import serving

from .pages import EXAMPLES
from .test_examples import load, restored_default_kit

__all__ = ["restored_default_kit"]

BODY = os.urandom(300_000) + bytes(300_000)
PACKED = gzip.compress(BODY, 1)

Reports = list[tuple[float, float]]
"""The amount of each report, and what the count was after it."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    return path


@contextmanager
def advancing(then: Callable[[ProgressObserver], None] = lambda job: None) -> Iterator[Reports]:
    """Note each call of `advance`, and call a function with its job."""
    reports: Reports = []
    original = ProgressObserver.advance

    def advance(job: ProgressObserver, n: float = 1) -> None:
        original(job, n)
        reports.append((n, job.progress.current))
        then(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressObserver, "advance", advance)
        yield reports


def cancel(job: ProgressObserver) -> None:
    progresskit.flush()
    assert progresskit.cancel(job.id)
    until(lambda: job.cancel_requested)


def stands(id: str) -> tuple[State, float, float | None, str | None]:
    progress = progresskit.get(id)
    assert progress is not None
    return progress.state, progress.current, progress.total, progress.unit


COMPLETE = (State.SUCCEEDED, len(BODY), len(BODY), "B")


def test_every_example_is_run_here() -> None:
    files = {path.stem for path in EXAMPLES.glob("libraries/*.py")}
    assert files == {"downloads", "ftp", "s3", "sftp", "training"}


# S3.


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def client(s3: S3Server) -> Iterator[Any]:
    with closing(s3.client()) as client:
        yield client


def test_an_upload_that_boto3_repeats_is_counted_once(s3: S3Server, client: Any, file: Path) -> None:
    s3.refuse = 1
    with advancing() as reports:
        load("libraries/s3.py").upload(client, str(file), BUCKET, "repeated", "upload")
    assert s3.refuse == 0
    assert stands("upload") == COMPLETE
    assert max(current for _, current in reports) == len(BODY)
    assert client.get_object(Bucket=BUCKET, Key="repeated")["Body"].read() == BODY


def test_a_download_that_boto3_repeats_falls_back_and_ends_exactly(s3: S3Server, client: Any, file: Path) -> None:
    client.put_object(Bucket=BUCKET, Key="cut", Body=BODY)
    file.unlink()
    s3.cut_off = 1
    with advancing() as reports:
        load("libraries/s3.py").download(client, BUCKET, "cut", str(file), "download")
    assert s3.cut_off == 0
    ((lost, fallen),) = [report for report in reports if report[0] < 0]
    assert -lost <= len(BODY) // 2
    assert fallen == 0
    assert stands("download") == COMPLETE
    assert file.read_bytes() == BODY


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # by s3transfer, after any error
@pytest.mark.parametrize("way", ["upload", "download"])
def test_a_transfer_of_boto3_that_is_cancelled_does_not_return_as_if_it_had_succeeded(
    client: Any, file: Path, way: str
) -> None:
    example = load("libraries/s3.py")
    client.put_object(Bucket=BUCKET, Key="there", Body=BODY)

    with advancing(cancel) as reports, pytest.raises(Cancelled):
        if way == "upload":
            example.upload(client, str(file), BUCKET, "cancelled", "job")
        else:
            example.download(client, BUCKET, "there", str(file.with_name("cancelled")), "job")
    gc.collect()
    assert len(reports) == 1
    assert stands("job")[0] is State.CANCELLED
    assert client.list_objects_v2(Bucket=BUCKET, Prefix="cancelled")["KeyCount"] == 0
    assert not file.with_name("cancelled").exists()


# HTTP.


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PACKED if self.path == "/packed" else BODY
        self.send_response(200)
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        if self.path != "/unknown":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@pytest.mark.parametrize("library", ["urllib", "requests", "httpx"])
@pytest.mark.parametrize(
    ("name", "sent", "total"),
    [("known", BODY, len(BODY)), ("unknown", BODY, None), ("packed", PACKED, len(PACKED))],
    ids=["with a length", "without a length", "compressed"],
)
def test_a_download_counts_the_bytes_that_are_sent(
    site: str, tmp_path: Path, library: str, name: str, sent: bytes, total: int | None
) -> None:
    path = tmp_path / "file"
    getattr(load("libraries/downloads.py"), f"by_{library}")(f"{site}/{name}", path, name)
    progress = stands(name)
    if library == "urllib" and total is None:  # it names blocks, the last one as if it were full
        assert 0 <= progress[1] - len(sent) < 8192
        progress = (progress[0], len(sent), *progress[2:])
    assert progress == (State.SUCCEEDED, len(sent), total, "B")
    assert path.read_bytes() == (sent if library == "urllib" else BODY)


# FTP and SFTP.


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[ftplib.FTP]:
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    (tmp_path / "served").mkdir()
    authorizer = DummyAuthorizer()
    authorizer.add_user("user", "password", str(tmp_path / "served"), perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"timeout": 0.05, "handle_exit": False})
    thread.start()
    try:
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", server.address[1], timeout=60)
            client.login("user", "password")
            yield client
    finally:
        server.close_all()
        thread.join()


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[Any]:
    import paramiko

    class Login(paramiko.ServerInterface):
        def check_auth_password(self, username: str, password: str) -> int:
            return int(paramiko.AUTH_SUCCESSFUL)

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

    class Files(paramiko.SFTPServerInterface):
        def open(self, path: str, flags: int, attr: Any) -> Any:
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = handle.writefile = os.fdopen(
                os.open(tmp_path / path.strip("/"), flags, 0o600), "wb" if flags & os.O_WRONLY else "rb"
            )
            return handle

        def stat(self, path: str) -> Any:
            return paramiko.SFTPAttributes.from_stat(os.stat(tmp_path / path.strip("/")))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = paramiko.Transport(socket.create_connection(listener.getsockname()))
        with closing(client), closing(paramiko.Transport(listener.accept()[0])) as server:
            server.add_server_key(paramiko.ECDSAKey.generate())
            server.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            server.start_server(Event(), Login())  # the event: it does not wait for the client
            client.connect(username="user", password="password")
            files = paramiko.SFTPClient.from_transport(client)
            assert files is not None
            with files:
                yield files


@pytest.mark.filterwarnings("ignore:The asyn(core|chat) module is deprecated:DeprecationWarning")  # by pyftpdlib
@pytest.mark.parametrize("protocol", ["ftp", "sftp"])
def test_a_file_goes_to_a_server_and_back(request: pytest.FixtureRequest, file: Path, protocol: str) -> None:
    client, example = request.getfixturevalue(protocol), load(f"libraries/{protocol}.py")
    example.upload(client, str(file), "sent", "upload")
    example.download(client, "sent", str(file.with_name("back")), "download")
    assert stands("upload") == stands("download") == COMPLETE
    assert file.with_name("back").read_bytes() == BODY


# Training.


class Trainer:
    """The loop of a Trainer, whose callbacks are handled by transformers itself: a real one needs PyTorch."""

    def __init__(self, steps: int, at_step: Callable[[int], None]) -> None:
        library: Any = import_module("transformers.trainer_callback")
        self._callbacks = library.CallbackHandler([library.DefaultFlowCallback], None, None, None, None)
        self._state, self._control = library.TrainerState(max_steps=steps), library.TrainerControl()
        self._at_step = at_step

    def add_callback(self, callback: Any) -> None:
        self._callbacks.add_callback(callback)

    def train(self) -> None:
        arguments, state = Arguments(), self._state
        control = self._callbacks.on_train_begin(arguments, state, self._control)
        while state.global_step < state.max_steps and not control.should_training_stop:
            state.global_step += 1
            control = self._callbacks.on_step_end(arguments, state, control)
            control = self._callbacks.on_log(arguments, state, control, {"loss": 1 / state.global_step})
            self._at_step(state.global_step)
        self._callbacks.on_train_end(arguments, state, control)


class Arguments:
    """Those that transformers' own callback asks for."""

    logging_strategy = eval_strategy = save_strategy = "no"
    logging_first_step = False
    eval_delay = 0


def test_a_training_counts_steps_and_has_its_loss_in_meta() -> None:
    seen = list[tuple[float, float | None, Any]]()

    def look(step: int) -> None:
        progress = progresskit.current().progress
        seen.append((progress.current, progress.percent, progress.meta))

    load("libraries/training.py").train(Trainer(4, look), "train")
    assert seen == [(1, 25, {"loss": 1}), (2, 50, {"loss": 0.5}), (3, 75, {"loss": 1 / 3}), (4, 99.99, {"loss": 0.25})]
    assert stands("train") == (State.SUCCEEDED, 4, 4, "steps")


def test_a_training_that_is_cancelled_stops_at_the_next_step() -> None:
    def cancel_at_2(step: int) -> None:
        if step == 2:
            cancel(progresskit.current())

    with pytest.raises(Cancelled):
        load("libraries/training.py").train(Trainer(10, cancel_at_2), "train")
    assert stands("train") == (State.CANCELLED, 3, 10, "steps")
