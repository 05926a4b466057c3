"""Parts in the result backend of an app: beside the record of their job on Redis, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest

from progresskit import Kit, State, SupportsParts, Unsupported
from progresskit.parts import Parts
from progresskit.testing import declare, start
from progresskit.testing.parts import report
from progresskit_celery.state import CeleryBackend
from tests.contract.celery_apps import imported, on_files, on_redis
from tests.services import missing, patience
from tests.services.patience import be_patient

PARTS = 2_000


@pytest.fixture
def backend(tmp_path: Path, missing_service: Callable[..., NoReturn], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if why := missing("redis"):
        missing_service("redis", why)
    be_patient(patience.CELERY_ON_REDIS, monkeypatch)
    with closing(CeleryBackend(imported(on_redis(tmp_path)))) as backend:
        yield backend


@pytest.fixture
def redis(backend: Any) -> Any:
    return backend._store.client()


def key_of(backend: Any, id: str) -> Any:
    return backend._store._key(backend._name(id))


def test_parts_live_as_long_as_their_job_and_are_removed_with_their_run(backend: Any, redis: Any) -> None:
    job, parts = key_of(backend, "album"), key_of(backend, "album") + b"/parts"
    backend.write_with_reports([declare("album", size=2, ttl=100)], [report("album", "a", ttl=100)])
    assert redis.hlen(parts) == 1
    acts: list[Callable[[], object]] = [
        lambda: backend.write_with_reports([], [report("album", "b", ttl=500)]),
        lambda: backend.write([declare("album", size=3, ttl=900, token="again")]),
        lambda: backend.request_cancel(["album"]),
    ]
    for act in acts:
        act()
        # Redis 7.0 reads its clock for each command of a script.
        assert redis.pexpiretime(job) > 0
        assert redis.pexpiretime(parts) == pytest.approx(redis.pexpiretime(job), abs=1_000)
    ends = [report("album", name, State.CANCELLED, is_start=False) for name in "ab"]
    backend.write_with_reports([], ends)
    assert redis.exists(parts)
    backend.write([start("album", token="next")])
    assert not redis.exists(parts)
    backend.write_with_reports([declare("forgotten", size=1)], [report("forgotten", "a", State.SUCCEEDED)])
    assert backend.forget(["forgotten"]) == {"forgotten"}
    assert not redis.exists(key_of(backend, "forgotten") + b"/parts")


def test_a_report_that_another_process_overtakes_is_folded_again(backend: Any) -> None:
    backend.write([declare("album", size=3)])
    store, overtaken = backend._store, list[str]()
    swap_all, ends = store._swap_all, [report("album", name, State.SUCCEEDED) for name in "ab"]

    def overtake(edits: Any, names: Any, left: Any) -> Any:
        def edit(id: str) -> Any:
            def decide(meta: Any, now: float) -> Any:
                if not overtaken:
                    overtaken.append(id)
                    with closing(CeleryBackend(backend._app)) as other:
                        assert isinstance(other, SupportsParts)
                        other.write_with_reports([], [ends[1], report("album", "c")])
                return edits[id](meta, now)

            return decide

        return swap_all({id: edit(id) for id in edits}, names, left)

    store._swap_all = overtake
    assert backend.write_with_reports([], ends)[1].keys() == {"album"}
    assert overtaken
    assert backend.read(["album"])["album"].parts == Parts(3, 2, 0, 0, 1)


def test_a_part_takes_at_most_250_bytes_beyond_its_name_and_a_job_is_read_by_its_key_alone(
    backend: Any, redis: Any
) -> None:
    names = [f"part-{number:06}" for number in range(PARTS)]
    backend.write([declare("album", size=PARTS)])
    for begin in range(0, PARTS, 500):
        each = [
            report("album", name, hundredths=9_999, token="0123456789abcdef") for name in names[begin : begin + 500]
        ]
        backend.write_with_reports([], each)
    size = redis.memory_usage(key_of(backend, "album") + b"/parts", samples=0)
    assert size / PARTS - len(names[0]) <= 250
    asked = list[Any]()
    load = backend._store._load_with_parts

    def note(*what: Any) -> Any:
        asked.append(what)
        return load(*what)

    backend._store._load_with_parts = note
    assert backend.read(["album"])["album"].parts == Parts(PARTS, 0, 0, 0, PARTS)
    assert asked == [([key_of(backend, "album")], {})]


def test_another_result_backend_cannot_add_up_parts_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Kit(on_files(tmp_path))) as kit, caplog.at_level(logging.WARNING):
        with pytest.raises(Unsupported):
            kit.group("album", size=2)
        for name in "ab":
            with kit.part("album", name) as part:
                part.advance()
        kit.flush(60)
        assert kit.get("album") is None
    assert [record.message for record in caplog.records if "add up the parts" in record.message] == [
        f"{kit.settings.url} cannot add up the parts of jobs: they are not counted"
    ]
