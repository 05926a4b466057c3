"""Reports change no state that all threads share: random numbers, the locale, the working folder, warning filters."""

from __future__ import annotations

import ast
import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeGuard

import pytest

import progresskit
from progresskit import Kit
from progresskit.backoff import Backoff
from progresskit.errors import FlushTimeout
from tests.services.forking import Child, needs_fork

ROOT = Path(progresskit.__file__).parent.parent
FORBIDDEN = {
    ("locale", "setlocale"),
    ("os", "chdir"),
    ("os", "fchdir"),
    ("os", "umask"),
    ("warnings", "catch_warnings"),
    ("warnings", "filterwarnings"),
    ("warnings", "resetwarnings"),
    ("warnings", "simplefilter"),
}
OF_TESTS = Path("progresskit/testing")
"""What runs in the processes of tests only."""


def sources() -> Iterator[Path]:
    for package in ("progresskit", "adapters"):
        yield from (path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def test_no_module_draws_from_the_shared_generator_or_sets_what_threads_share() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path in sources()
        if OF_TESTS not in path.parents
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
        if is_forbidden(node)
    ]
    assert not found


def is_forbidden(node: ast.AST) -> TypeGuard[ast.expr | ast.stmt]:
    match node:
        case ast.Attribute(ast.Name(module), name):
            return (module, name) in FORBIDDEN or (module == "random" and name not in {"Random", "SystemRandom"})
        case ast.ImportFrom(module, names):
            return any(
                (module, each.name) in FORBIDDEN or (module == "random" and each.name not in {"Random", "SystemRandom"})
                for each in names
            )
    return False


@pytest.mark.parametrize("statement", ["random.random()", "from random import uniform", "os.chdir(folder)"])
def test_the_check_of_the_sources_finds_them(statement: str) -> None:
    assert any(map(is_forbidden, ast.walk(ast.parse(statement))))


@contextmanager
def untouched() -> Iterator[None]:
    random.seed(7)
    before = random.getstate()
    yield
    assert random.getstate() == before
    random.seed()


@pytest.mark.parametrize("name", ["memory", "sqlite", "redis"])
def test_jobs_and_their_viewers_leave_seeded_numbers_as_they_are(
    name: str, make_kit: Callable[..., Kit], needs: Callable[[str], None], tmp_path: Path
) -> None:
    url = url_of(name, needs, tmp_path)
    with untouched(), closing(make_kit(url=url, interval=0.01)) as kit, kit.observe("job", total=3) as job:
        viewed = kit.watch("job")
        for count in range(1, 4):
            job.advance()
            kit.flush()
            assert any(seen.current == count for seen in viewed)
        job.succeed()
        assert [seen.done for seen in viewed] == [True]


def url_of(name: str, needs: Callable[[str], None], folder: Path) -> str:
    if name == "redis":
        needs(name)
        from tests.services import server

        return server(name).fresh()
    return "memory://" if name == "memory" else f"sqlite:///{folder / 'progress.db'}"


def test_the_pauses_after_a_failure_leave_them_too(make_kit: Callable[..., Kit]) -> None:
    kit = make_kit(url="redis://127.0.0.1:9/0", interval=0.01, flush_seconds=0.1)  # nobody listens
    with untouched(), kit.observe("job") as job:
        job.advance()
        with pytest.raises(FlushTimeout):
            kit.flush(0.5)


@needs_fork
def test_a_forked_child_does_not_repeat_the_pauses_of_its_parent() -> None:
    read, write = os.pipe()

    def draw() -> list[float]:
        backoff = Backoff()
        return [backoff.next() for _ in range(8)]

    children = [Child(lambda: os.write(write, f"{draw()}\n".encode())) for _ in range(2)]
    for child in children:
        assert child.succeeds()
    os.close(write)
    with os.fdopen(read) as drawn:
        one, other = drawn.read().splitlines()
    assert len({one, other, str(draw())}) == 3
