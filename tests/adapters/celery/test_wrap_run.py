"""Every task is wrapped so that Celery survives `Cancelled`, and nothing that was wrapped around it before is lost."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from celery import Celery, Task

import progresskit_celery
from progresskit.kit import Kit
from progresskit_celery.installation import is_wrapped


def make() -> Celery:
    return Celery("sealed", set_as_current=False, broker="memory://", backend="cache+memory://")


def install(app: Celery) -> Celery:
    progresskit_celery.install(app, kit=Kit("memory://"))
    return app


def add_tasks(app: Celery) -> dict[str, Any]:
    class Based(Task):  # type: ignore[misc, unused-ignore]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

    class Classy(Task):  # type: ignore[misc, unused-ignore]
        name = "classy"

        def run(self, n: int) -> int:
            return n

    @app.task(name="plain", shared=False)
    def plain(n: int) -> int:
        return n

    @app.task(name="bound", bind=True, shared=False)
    def bound(self: Task, n: int) -> int:
        return n

    @app.task(name="autoretry", autoretry_for=(ValueError,), shared=False)
    def autoretry(n: int) -> int:
        return n

    @app.task(name="based", base=Based, shared=False)
    def based(n: int) -> int:
        return n

    app.register_task(Classy())
    app.finalize()
    return {name: app.tasks[name] for name in ("plain", "bound", "autoretry", "based", "classy")}


@pytest.mark.parametrize("order", ["installed first", "installed last"])
def test_tasks_of_every_kind_are_wrapped(order: str) -> None:
    app = make()
    if order == "installed first":
        install(app)
    tasks = add_tasks(app)
    if order == "installed last":
        install(app)

    for name, task in tasks.items():
        assert is_wrapped(task), name
        assert task.run(3) == 3
        assert list(inspect.signature(task.run).parameters) == ["n"], name


def test_a_decorator_of_the_function_is_kept() -> None:
    def twice(function: Callable[[int], int]) -> Callable[[int], int]:
        @wraps(function)
        def doubled(n: int) -> int:
            return 2 * function(n)

        return doubled

    app = install(make())

    @app.task(shared=False)
    @twice
    def plain(n: int) -> int:
        return n

    assert plain(3) == 6


def louder(run: Callable[[int], int]) -> Callable[[Any, int], int]:
    return lambda self, n: 10 * run(n)


@pytest.mark.parametrize("annotations", [{"*": {"@run": louder}}, {"plain": {"@run": louder}}])
@pytest.mark.parametrize("configured", ["before", "after"])
def test_the_annotations_of_the_site_are_kept(annotations: Any, configured: str) -> None:
    app = make()
    if configured == "after":
        install(app)
    app.conf.task_annotations = [annotations, {"*": {"rate_limit": "9/s"}}]
    if configured == "before":
        install(app)
    plain = add_tasks(app)["plain"]

    assert plain(3) == 30
    assert is_wrapped(plain)
    if "plain" in annotations:
        assert plain.rate_limit == "9/s"


def test_installing_twice_wraps_once() -> None:
    app = install(install(make()))
    plain = add_tasks(app)["plain"]

    assert not hasattr(plain.run.__wrapped__, "wrapped_by_progresskit")


def test_installing_reads_no_configuration() -> None:
    app = install(make())

    assert not app.configured
