"""What a user calls: settings to a running kit and back, two kits beside each other, the default one, and forks."""

from __future__ import annotations

import builtins
import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy
import pytest

import progresskit
from progresskit import (
    ConfigurationError,
    FlushTimeout,
    InvalidId,
    InvalidValue,
    Kit,
    Progress,
    State,
    UnknownScheme,
    Unsupported,
)
from progresskit.config import Settings
from progresskit.integrations import Integration
from progresskit.memory import MemoryBackend
from progresskit.registry import BACKENDS
from progresskit.testing import FakeClock, external_update, start
from tests.services.waiting import wait_until

from .doubles import FlakyBackend, wait_for_removals

Step = Callable[..., float | None]

THREADS = ("progresskit-publisher", "progresskit-hub")


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in THREADS}


class Remembered(FlakyBackend):
    """A backend that an URL leads to."""

    made: list[Remembered]

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> Remembered:
        from time import monotonic

        backend = cls(monotonic)
        cls.made.append(backend)
        return backend


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[Remembered]:
    """Register the scheme `remembered`, and give the backends that are made by it."""
    monkeypatch.setenv("PROGRESSKIT_FLUSH_SECONDS", "30")  # for a busy machine
    monkeypatch.setitem(BACKENDS, "remembered", (f"{__name__}:Remembered", None))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    Remembered.made = []
    return Remembered.made


# From settings to a kit.


@pytest.mark.parametrize(("url", "settings", "error"), [
    ("carrier-pigeon://roof", {}, UnknownScheme),
    ("memory", {}, ConfigurationError),
    ("memory://", {"intervall": 1}, ConfigurationError),
    ("memory://", {"lease": 5, "heartbeat": 6}, ConfigurationError),
])  # fmt: skip
def test_a_mistake_in_the_configuration_raises_at_once_and_leaves_what_was(
    url: str, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Kit(url, **settings)
    kit = Kit("memory://", prefix="before")
    with pytest.raises(error):
        kit.configure(url, **settings)
    assert kit.settings.prefix == "before"


def test_a_kit_opens_nothing_before_it_is_used(remembered: list[Remembered]) -> None:
    before = threads()
    kit = Kit("remembered://")
    kit.current().advance()
    kit.flush()
    kit.close()
    assert threads() <= before
    assert not any(backend.batches or backend.reads for backend in remembered)


def test_a_kit_has_one_backend_which_it_closes_with_itself(remembered: list[Remembered]) -> None:
    kit = Kit("remembered://")
    with kit.observe("job"):
        pass
    assert kit.get("job") is not None
    assert len(list(kit.watch("job"))) == 1
    (backend,) = remembered
    assert backend.closed == 0
    kit.close()
    assert backend.closed == 1
    kit.close()
    assert backend.closed == 1


def test_closing_stores_what_was_reported(remembered: list[Remembered]) -> None:
    kit = Kit("remembered://")
    job = kit.observe("job")
    job.advance(5)
    kit.close()
    assert remembered[0].store.read(["job"])["job"].current == 5
    del job


def test_a_job_that_lives_on_when_its_kit_is_closed_or_reconfigured_can_still_end(
    make_kit: Callable[..., Kit],
) -> None:
    backend = MemoryBackend()
    kit = make_kit(backend=backend)
    closed, configured = kit.observe("closed"), kit.observe("configured")
    kit.close()
    closed.succeed()
    kit.configure(backend=backend, interval=0.01)
    configured.advance(5)
    configured.succeed()
    states = {id: (job.state, job.current) for id, job in backend.read(["closed", "configured"]).items()}
    assert states == {"closed": (State.SUCCEEDED, 0), "configured": (State.SUCCEEDED, 5)}


def test_a_closed_kit_opens_again_when_it_is_used(remembered: list[Remembered]) -> None:
    before = threads()
    kit = Kit("remembered://")
    for number in range(3):
        with kit.observe(f"job-{number}"):
            pass
        kit.close()
    stored = [set(backend.store._entries) for backend in remembered if backend.batches]
    assert stored == [{"job-0"}, {"job-1"}, {"job-2"}]
    assert threads() <= before


def test_reconfiguring_flushes_what_there_was_to_where_it_was(remembered: list[Remembered]) -> None:
    kit = Kit("remembered://")
    with kit.observe("old"):
        pass
    old = remembered[-1]
    kit.configure("remembered://other", interval=0.01)
    with kit.observe("new"):
        pass
    kit.close()
    assert old.closed == 1
    assert set(old.store._entries) == {"old"}
    assert set(remembered[-1].store._entries) == {"new"}


def test_two_kits_know_nothing_of_each_other(make_kit: Callable[..., Kit]) -> None:
    one, other = make_kit(url="memory://"), make_kit(url="memory://")
    with one.observe("job"):
        pass
    assert one.get("job") is not None
    assert other.get("job") is None


def test_the_environment_configures_a_kit_that_nobody_configured(
    monkeypatch: pytest.MonkeyPatch, remembered: list[Remembered]
) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "remembered://")
    monkeypatch.setenv("PROGRESSKIT_LEASE", "12")
    kit = Kit()
    with kit.observe("job"):
        pass
    kit.close()
    assert remembered[0].batches
    assert kit.settings.lease == 12


def test_a_framework_may_pass_its_settings_which_come_after_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_PREFIX", "environment")
    kit = Kit(interval=5)
    kit.host_settings({"INTERVAL": 7, "PREFIX": "framework", "LEASE": 60})
    assert (kit.settings.interval, kit.settings.prefix, kit.settings.lease) == (5, "environment", 60)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the scheme `refusing`, and `late`, whose backends cannot be made."""

    class Refusing(Remembered):
        @classmethod
        def from_url(cls, url: str, settings: Settings) -> Remembered:
            raise ConfigurationError("there is no such server")

    class Late(Refusing):
        imports_site_code = True

    for name, backend in (("refusing", Refusing), ("late", Late)):
        monkeypatch.setitem(BACKENDS, name, (f"{__name__}:{name}", None))
        monkeypatch.setattr(sys.modules[__name__], name, backend, raising=False)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize("wrong", [{"URL": "refusing://"}, {"INTERVALL": 1}, {"URL": "carrier-pigeon://"}])
def test_a_mistake_of_a_framework_raises_at_once_and_leaves_what_was(wrong: dict[str, Any]) -> None:
    kit = Kit()
    kit.host_settings({"PREFIX": "before"})
    with pytest.raises(ConfigurationError):
        kit.host_settings(wrong)
    assert kit.settings.prefix == "before"
    kit.host_settings(wrong, check=False)
    for use in (lambda: kit.get("job"), lambda: kit.observe("job"), kit.check, lambda: kit.host_settings(wrong)):
        with pytest.raises(ConfigurationError):
            use()


@pytest.mark.usefixtures("refusing")
def test_a_backend_of_the_environment_is_looked_at_when_a_framework_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "refusing://")
    with pytest.raises(ConfigurationError):
        Kit().host_settings({})
    Kit(backend=MemoryBackend()).host_settings({})


@pytest.mark.usefixtures("refusing")
def test_a_backend_in_the_sites_own_code_is_looked_at_when_that_is_there() -> None:
    kit = Kit()
    kit.host_settings({"URL": "late://"})
    with pytest.raises(ConfigurationError, match="no such server"):
        kit.check(site_loaded=True)
    with pytest.raises(ConfigurationError, match="no such server"):
        kit.get("job")


def test_what_a_framework_says_opens_nothing(remembered: list[Remembered]) -> None:
    kit = Kit()
    kit.host_settings({"URL": "remembered://"})
    remembered.clear()  # that was looked at, and never used
    with kit.observe("job"):
        pass
    kit.close()
    assert [backend.closed for backend in remembered] == [1]


@pytest.mark.usefixtures("refusing")
def test_a_refused_setting_stops_nothing_that_runs(remembered: list[Remembered]) -> None:
    with closing(Kit("remembered://")) as kit, kit.observe("job"):
        with pytest.raises(ConfigurationError):
            kit.host_settings({"INTERVALL": 1})
        assert [backend.closed for backend in remembered] == [0]


def test_the_environment_may_change_until_a_kit_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit()
    kit.check()
    monkeypatch.setenv("PROGRESSKIT_PREFIX", "later")
    assert kit.settings.prefix == "later"


# What others cannot see.


@pytest.mark.parametrize("url", ["memory://", "sqlite:///progress.db"])
def test_a_backend_that_others_cannot_see_is_warned_of_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    kit = Kit(url)
    for _ in range(3):
        kit.warn_unshared("a Celery worker")
    (message,) = caplog.messages
    assert "a Celery worker" in message
    assert url in message
    assert "PROGRESSKIT_URL" in message
    kit.close()


def test_a_backend_that_others_see_is_not_warned_of(
    remembered: list[Remembered], caplog: pytest.LogCaptureFixture
) -> None:
    Kit("remembered://").warn_unshared("a web server")
    assert caplog.messages == []


# Reading.


def test_jobs_are_got_by_their_ids(kit: Kit, backend: FlakyBackend) -> None:
    backend.store.write([start("a", current=1), start("b")])
    progress = kit.get("a")
    assert progress is not None
    assert (progress.id, progress.current) == ("a", 1)
    assert kit.get("unknown") is None
    assert kit.get_many(["a", "b", "unknown"]).keys() == {"a", "b"}
    assert kit.get_many([]) == {}
    assert backend.reads[-1] == {"a", "b", "unknown"}, "one round trip"


def test_listing_is_for_backends_that_can(kit: Kit) -> None:
    with pytest.raises(Unsupported, match="cannot list"):
        kit.list()


def test_jobs_are_listed_by_kind_and_state() -> None:
    backend = MemoryBackend()
    kit = Kit(backend=backend)
    backend.write([start("a", kind="mail"), start("b", kind="mail", state=State.FAILED), start("c", kind="import")])

    def ids(**wanted: Any) -> set[str]:
        return {progress.id for progress in kit.list(**wanted)}

    assert ids() == {"a", "b", "c"}
    assert ids(kind="mail") == {"a", "b"}
    assert ids(state="failed") == ids(state=State.FAILED) == {"b"}
    assert ids(state=["running", State.FAILED], kind="mail") == {"a", "b"}
    assert len(ids(limit=2)) == 2
    assert ids(limit=0) == ids(state=[]) == set()
    assert ids(limit=10**30) == {"a", "b", "c"}
    assert len(kit.list(limit=numpy.int64(2))) == 2  # type: ignore[arg-type]


def test_the_jobs_that_are_parts_of_another_are_listed() -> None:
    kit = Kit(backend=MemoryBackend(), strict=True)
    with kit.observe("resize-1", part_of=42) as job, kit.part(42, "chunk"), kit.observe("child"):
        job.set_progress(1, 2)
    assert [progress.id for progress in kit.list(part_of="42")] == ["resize-1"], "a part() has no record"
    assert kit.list(part_of=42, state="failed") == []
    with pytest.raises(InvalidId):
        kit.list(part_of="no id")
    kit.close()


@pytest.mark.parametrize("wanted", [
    {"limit": -1}, {"limit": "5"}, {"limit": 2.5}, {"limit": True}, {"limit": None}, {"limit": math.nan},
    {"kind": 5}, {"kind": ["mail"]},
    {"state": "flying"}, {"state": ["failed", "flying"]}, {"state": 5}, {"state": [5]}, {"state": [[]]}, {"state": ""},
], ids=repr)  # fmt: skip
def test_what_cannot_be_listed_is_refused_before_a_backend_is_asked(wanted: dict[str, Any], kit: Kit) -> None:
    with pytest.raises(InvalidValue, match=f"^{next(iter(wanted))} must be "):
        kit.list(**wanted)


# Words of the queue, and cancelling through it.


def test_a_queue_may_say_that_a_job_waits_and_how_it_ended(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    Integration(kit).enqueued("job", kind="mail")
    step()
    progress = kit.get("job")
    assert progress is not None
    assert (progress.state, progress.kind, progress.done) == (State.PENDING, "mail", False)
    with kit.observe("job", kind="mail"):
        step()
        Integration(kit).enqueued("job", kind="mail")
        step()
        assert kit.get("job").state is State.RUNNING  # type: ignore[union-attr]
        Integration(kit).end_externally("job", State.FAILED, error=RuntimeError("worker lost"))
        step()
    step()
    progress = kit.get("job")
    assert progress is not None
    assert (progress.state, progress.error) == (State.FAILED, ("RuntimeError", "worker lost", False))


def test_what_a_queue_says_of_a_job_is_checked_at_once(kit: Kit) -> None:
    with pytest.raises(InvalidValue, match="kind must be a string, not int"):
        Integration(kit).enqueued("job", kind=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="state must be final, not pending"):
        Integration(kit).end_externally("job", State.PENDING)


@pytest.mark.parametrize("id", [42, UUID(int=7)])
async def test_whole_numbers_and_uuids_are_ids_everywhere(kit: Kit, step: Step, id: int | UUID) -> None:
    text = str(id)
    Integration(kit).enqueued(id)
    for _ in kit.track(range(2), id=id):
        with kit.observe(id) as joined:
            joined.update(description="the same job")
        step()
        assert kit.get(id) == kit.get(text) == await kit.aget(id) == kit.subject(id).progress
        assert kit.get_many([id]).keys() == (await kit.aget_many([id])).keys() == {text}
        assert kit.cancel(id)
        assert await kit.acancel(id)
    step()
    progress = kit.get(id)
    assert progress is not None
    assert (progress.id, progress.description, progress.version.run) == (text, "the same job", 1)
    with kit.observe("parent"), kit.observe(id) as child:
        assert child.progress.parent == "parent"
    with kit.observe(id), kit.observe("child") as child:
        assert child.progress.parent == text


@pytest.mark.parametrize("id", [42, UUID(int=7)])
async def test_whole_numbers_and_uuids_can_be_watched(make_kit: Callable[..., Kit], id: int | UUID) -> None:
    kit = make_kit()
    assert list(kit.track(range(2), id=id)) == [0, 1]
    assert [progress.id for progress in kit.watch(id)] == [str(id)]
    assert [progress.id async for progress in kit.awatch(id)] == [str(id)]


def test_true_is_no_id(kit: Kit) -> None:
    for use in (kit.observe, kit.get, kit.cancel, kit.watch, kit.subject):
        with pytest.raises(InvalidId, match="bool"):
            use(True)
    with pytest.raises(InvalidId, match="bool"):
        kit.track([], id=True)


def test_who_takes_jobs_out_of_a_queue_is_called_for_those_that_are_known(kit: Kit, backend: FlakyBackend) -> None:
    called: list[list[str]] = []
    Integration(kit, remove=called.append)
    backend.store.write([external_update("job"), start("done", state=State.SUCCEEDED)])
    assert [kit.cancel(id) for id in ("job", "done", "unknown")] == [True, False, False]
    wait_for_removals()
    assert called == [["job"]]


def test_what_began_or_was_sent_just_now_is_known_to_cancel() -> None:
    with closing(Kit("memory://", flush_seconds=60)) as kit:
        for number in range(20):
            with kit.observe("again"):
                assert kit.cancel("again")
            Integration(kit).enqueued(f"sent-{number}")
            assert kit.cancel(f"sent-{number}")
        with kit.observe("again") as job:
            assert kit.cancel("again")
            wait_until(lambda: job.cancel_requested)
        assert not kit.cancel("unknown")


def test_an_observer_may_cancel_in_the_thread_that_stores() -> None:
    answers: list[bool] = []
    with closing(Kit("memory://", flush_seconds=10_000)) as kit, kit.observe("job") as job:
        job.attach(lambda progress: answers.append(kit.cancel("unknown")))
        wait_until(lambda: bool(answers))
    assert not any(answers)


# The default kit.


def test_the_functions_of_the_package_are_those_of_one_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = progresskit.observe.__self__  # type: ignore[attr-defined]
    assert isinstance(kit, Kit)
    functions = (
        "acancel aget aget_many awatch cancel configure current flush get get_many list observe subject track watch"
    )
    for name in functions.split():
        assert getattr(progresskit, name) == getattr(kit, name), name
    assert set(functions.split()) - set(progresskit.__all__) == {"list"}


def test_importing_all_names_replaces_none_of_pythons_own() -> None:
    assert not set(progresskit.__all__) & set(vars(builtins))


def test_every_public_name_is_there_and_they_are_listed_in_order() -> None:
    assert all(hasattr(progresskit, name) for name in progresskit.__all__)
    assert progresskit.__all__ == sorted(progresskit.__all__)


# Processes of their own: forks, and the end of the interpreter.


def run(code: str, tmp_path: Path, hooks: bool = True) -> Any:
    """Run a script in a fresh interpreter and return the JSON that it printed last; without our `hooks` if so told."""
    script = tmp_path / "script.py"
    script.write_text(("" if hooks else NO_HOOKS) + PREAMBLE + code)
    answer = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)],
        capture_output=True,
        text=True,
        timeout=100,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "LOG": str(tmp_path / "log")},
    )
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


# What a fork by uWSGI is to us: none of our hooks is run. The interpreter's own are, without which a fork beside other
# threads may leave the child without its lock; uWSGI sees to that by itself.
NO_HOOKS = """
import logging, os, random, threading
os.register_at_fork = lambda **hooks: None
"""

# A store that processes share: a file to which each write is appended in one piece, and replayed to read.
PREAMBLE = """
import json, os, signal, sys, threading, time
from progresskit import Backend, Cancelled, Kit
from progresskit.memory import MemoryBackend
from progresskit.observer import job_of
from progresskit.progress import Role, State, Write

class LogBackend(Backend):
    def __init__(self):
        self.forks = self.closed = 0
    @classmethod
    def from_url(cls, url, settings):
        return cls()
    def replay(self):
        memory = MemoryBackend()
        with open(os.environ["LOG"], "a+") as log:
            log.seek(0)
            for line in log:
                pid, role, state, rest = json.loads(line)
                memory.write([Write(rest[0], Role(role), *rest[1:5], State(state), *rest[5:])])
        return memory
    def write(self, batch):
        with open(os.environ["LOG"], "a") as log:
            for write in batch:
                rest = [*write[:1], *write[2:6], *write[7:]]
                log.write(json.dumps([os.getpid(), write.role.value, write.state.value, rest]) + "\\n")
        memory = self.replay()
        return {id: progress.version.run for id, progress in memory.read([write.id for write in batch]).items()}
    def read(self, ids):
        return self.replay().read(ids)
    def request_cancel(self, ids):
        return set()
    def cancel_requested(self, ids):
        return set()
    def forget(self, ids):
        return set()
    def close(self):
        self.closed += 1
    def after_fork_in_child(self):
        self.forks += 1

def writers(id):
    with open(os.environ["LOG"]) as log:
        return {pid for pid, role, state, rest in map(json.loads, log) if rest[0] == id}

backend = LogBackend()
kit = Kit(backend=backend, flush_seconds=30)  # for a busy machine

def fork(work):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
"""


def test_a_job_that_lives_at_a_fork_is_the_parents_and_the_child_is_clean(tmp_path: Path) -> None:
    answer = run(
        """
with kit.observe("parents") as job:
    job.advance()
    kit.flush(60)
    viewer = kit.hub.view(["parents"])
    viewer.get(10)

    def child():
        assert backend.forks == 1
        assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
        assert kit.current().id != "parents"
        job.advance(1000)
        job.fail("not yours")
        assert not kit.publisher.has_jobs and not kit.publisher.has_work
        for number in range(3):
            with kit.observe(f"childs-{number}") as own:
                own.advance(5)
            assert kit.get(f"childs-{number}").current == 5
        with kit.observe("quick"):
            pass
        assert next(iter(kit.watch("quick"))).done

    status = fork(child)
    job.advance()
    kit.flush(60)
print(json.dumps({
    "status": status,
    "parents": [kit.get("parents").state, kit.get("parents").current],
    "writers of the parent's": writers("parents") == {os.getpid()},
    "writers of the child's": os.getpid() in writers("childs-0"),
    "forks": backend.forks, "closed": backend.closed,
}))
""",
        tmp_path,
    )
    assert answer == {
        "status": 0,
        "parents": ["succeeded", 2],
        "writers of the parent's": True,
        "writers of the child's": False,
        "forks": 0,
        "closed": 0,
    }


def test_a_job_opened_just_before_a_fork_is_not_the_childs_either(kit: Kit) -> None:
    job = kit.observe("job")
    kit._resources.after_fork_in_child()
    job.fail("not yours")
    assert not kit.publisher.has_work


def test_a_fork_in_the_middle_of_everything_leaves_no_lock_held(tmp_path: Path) -> None:
    answer = run(
        """
stop = threading.Event()
def busy(number):
    while not stop.is_set():
        with kit.observe(f"busy-{number}") as job:
            job.advance()
            kit.current()
threads = [threading.Thread(target=busy, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()

def child():
    signal.alarm(60)
    with kit.observe(f"child-{os.getpid()}") as job:
        job.advance()
    kit.flush(60)
    kit.close()

statuses = [fork(child) for _ in range(20)]
stop.set()
for thread in threads:
    thread.join()
print(json.dumps(statuses))
""",
        tmp_path,
    )
    assert answer == [0] * 20


def test_a_child_of_a_child_is_clean_too(tmp_path: Path) -> None:
    answer = run(
        """
def grandchild():
    assert not kit.publisher.has_jobs
    with kit.observe("grandchild"):
        pass

def child():
    with kit.observe("child"):
        kit.flush(60)
        assert fork(grandchild) == 0

job = kit.observe("parent")
kit.flush(60)
status = fork(child)
job.succeed()
print(json.dumps([status, *(kit.get(id).state for id in ("parent", "child", "grandchild"))]))
""",
        tmp_path,
    )
    assert answer == [0, "succeeded", "succeeded", "succeeded"]


@pytest.mark.timing
def test_a_child_of_a_fork_without_hooks_notices_by_itself(tmp_path: Path) -> None:
    answer = run(
        """
def grandchild():
    with kit.observe("grandchild") as own:
        own.advance(1)

def child():
    signal.alarm(60)
    assert backend.forks == 0
    assert kit.current().id != "parents"
    assert backend.forks == 1
    job.advance(1000)
    job.fail("not yours")
    assert not kit.publisher.has_jobs and not kit.publisher.has_work
    for number in range(3):
        with kit.observe(f"childs-{number}") as own:
            own.advance(5)
        assert kit.get(f"childs-{number}").current == 5
    assert next(iter(kit.watch("childs-0"))).done
    assert fork(grandchild) == 0
    assert (backend.forks, backend.closed) == (1, 0)

def first(act):  # what a child may do first
    def child():
        signal.alarm(60)
        act()
        assert backend.forks == 1, "not noticed"
    return child

with kit.observe("parents") as job:
    job.advance()
    kit.flush(60)
    kit.hub.view(["parents"]).get(10)
    began = time.monotonic()
    statuses = [fork(child)] + [fork(first(act)) for act in (
        lambda: job.fail("not yours"), lambda: kit.get("parents"), lambda: next(kit.watch("parents")), kit.flush,
        lambda: kit.observe("mine"), kit.close, lambda: kit.cancel("parents"), kit.publisher._exit,
    )]
    took = time.monotonic() - began
    job.advance()
    kit.flush(60)
print(json.dumps({
    "statuses": statuses,
    "waited for a thread that is not there": took > 25,
    "parents": [kit.get("parents").state, kit.get("parents").current],
    "writers of the parent's": writers("parents") == {os.getpid()},
    "writers of the children's": os.getpid() in writers("childs-0") | writers("grandchild"),
    "forks": backend.forks, "closed": backend.closed,
}))
""",
        tmp_path,
        hooks=False,
    )
    assert answer == {
        "statuses": [0] * 9,
        "waited for a thread that is not there": False,
        "parents": ["succeeded", 2],
        "writers of the parent's": True,
        "writers of the children's": False,
        "forks": 0,
        "closed": 0,
    }


def test_of_many_threads_that_meet_a_fork_without_hooks_none_goes_on_before_it_is_noticed(tmp_path: Path) -> None:
    answer = run(
        """
def in_child(inherited=backend.after_fork_in_child):
    time.sleep(0.2)
    inherited()
backend.after_fork_in_child = in_child

def child():
    signal.alarm(60)
    def work(number):
        with kit.observe(f"job-{number}") as job:
            job.advance()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.forks == 1

with kit.observe("parents"):
    kit.flush(60)
    status = fork(child)
print(json.dumps([status, *{kit.get(f"job-{number}").state for number in range(8)}]))
""",
        tmp_path,
        hooks=False,
    )
    assert answer == [0, "succeeded"]


def test_a_job_that_nobody_ended_is_cancelled_when_the_process_ends(tmp_path: Path) -> None:
    answer = run(
        """
if len(sys.argv) == 1:
    import subprocess
    subprocess.run([sys.executable, __file__, "inner"], check=True)
    progress = kit.get("job")
    print(json.dumps([progress.state, progress.current]))
else:
    job = kit.observe("job")
    job.advance(7)
    kit.flush(60)
""",
        tmp_path,
    )
    assert answer == ["cancelled", 7]


def test_a_job_opened_just_before_the_process_ends_is_cancelled_too(tmp_path: Path) -> None:
    answer = run(
        """
if len(sys.argv) == 1:
    import subprocess
    subprocess.run([sys.executable, __file__, "inner"], check=True)
    progress = kit.get("job")
    print(json.dumps([progress.state, progress.current]))
else:
    job = kit.observe("job")
    job.advance(7)
""",
        tmp_path,
    )
    assert answer == ["cancelled", 7]


def test_what_was_reported_is_stored_before_the_process_ends(tmp_path: Path) -> None:
    answer = run(
        """
if len(sys.argv) == 1:
    import subprocess
    subprocess.run([sys.executable, __file__, "inner"], check=True)
    print(json.dumps([kit.get(f"job-{number}").state for number in range(200)]))
else:
    for number in range(200):
        job = kit.observe(f"job-{number}")  # a handle that is dropped cancels its job
        job_of(job).end(State.SUCCEEDED, wait=False)
""",
        tmp_path,
    )
    assert answer == ["succeeded"] * 200


@pytest.mark.timing
def test_a_process_whose_backend_is_down_ends_within_its_time(tmp_path: Path) -> None:
    answer = run(
        """
from progresskit import BackendUnavailable
if len(sys.argv) == 1:
    import subprocess
    began = time.monotonic()
    subprocess.run([sys.executable, __file__, "inner"], check=True, stderr=subprocess.DEVNULL)
    print(json.dumps(time.monotonic() - began))
else:
    def write(batch):
        raise BackendUnavailable("down")
    backend.write = write
    kit.configure(backend=backend, flush_seconds=0.2)
    job = kit.observe("job")
    job.advance()
""",
        tmp_path,
    )
    assert answer < 10


def test_importing_the_package_starts_no_thread_and_reads_no_environment(tmp_path: Path) -> None:
    answer = run(
        """
os.environ["PROGRESSKIT_URL"] = "memory://"
os.environ["PROGRESSKIT_PREFIX"] = "set_after_the_import"
import progresskit
names = [thread.name for thread in threading.enumerate()]
from progresskit.default_kit import default; print(json.dumps([names, default().settings.prefix]))
""",
        tmp_path,
    )
    assert answer == [["MainThread"], "set_after_the_import"]


# What is told where it can be seen.


def test_no_password_reaches_a_log_or_a_repr(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, remembered: list[Remembered]
) -> None:
    caplog.set_level(logging.DEBUG)
    kit = Kit("remembered://user:hunter2@host/0", flush_seconds=0.05)
    kit.warn_unshared("a web server")
    remembered[-1].down = True
    job = kit.observe("job")
    with pytest.raises(FlushTimeout) as late:
        kit.flush(0.05)
    with pytest.raises(Unsupported) as unsupported:
        kit.list()
    job.succeed()
    kit.close()
    shown = [
        caplog.text,
        repr(kit),
        repr(kit.settings),
        str(late.value),
        str(unsupported.value),
        repr(kit.subject("a")),
    ]
    assert not [text for text in shown if "hunter2" in text]


def test_a_record_is_the_same_for_every_reader(kit: Kit, step: Step, clock: FakeClock) -> None:
    job = kit.observe("job", total=10)
    job.advance(3)
    step()
    got, many, subject = kit.get("job"), kit.get_many(["job"])["job"], kit.subject("job").progress
    assert isinstance(got, Progress)
    assert got == many == subject == job.progress
