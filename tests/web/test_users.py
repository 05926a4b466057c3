"""A key that is bound to a user opens nothing for anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import progresskit
from progresskit import Kit
from progresskit.web import Request, Server, Surface, owner_only
from progresskit.web.tokens import make, read

SECRET = "a secret key that is long enough"


class Django:
    """A user as Django has it."""

    is_authenticated = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


class Login:
    """A user as Flask-Login has it."""

    is_authenticated = True

    def get_id(self) -> str:
        return "7"


class Starlette:
    """A user as Starlette has it, whose own class knows no identity."""

    is_authenticated = True
    id = "7"

    @property
    def identity(self) -> str:
        raise NotImplementedError


ANONYMOUS = SimpleNamespace(is_authenticated=False, pk=None, id="7")


@pytest.fixture
def surface() -> Iterator[Surface]:
    kit = Kit("memory://", secret_key=SECRET, max_streams=0, flush_seconds=30)  # for a busy machine
    with kit.observe("a"):
        kit.flush()
        yield Surface(kit)
    kit.close()


def asked_by(user: Any) -> list[Any]:
    return [SimpleNamespace(user=user), SimpleNamespace(scope={"user": user}), {"user": user}]


async def both(surface: Surface, request: Request) -> set[int]:
    return {surface.answer(request).status, (await surface.aanswer(request)).status}


def statuses(surface: Surface, key: str, native: Any) -> set[int]:
    async def ask() -> set[int]:
        found = set()
        for method, path in (("GET", f"{key}/"), ("GET", f"{key}/events/"), ("POST", f"{key}/cancel/")):
            request = Request(method, path, "", {"x-progresskit": "1"}, Server.LOOP, native)
            found |= await both(surface, request)
        return found

    return asyncio.run(ask())


@pytest.mark.parametrize("user", [Django(7), Login(), Starlette(), 7, "7"], ids=lambda user: type(user).__name__)
def test_a_key_of_one_user_opens_nothing_for_others(surface: Surface, user: Any) -> None:
    key = surface.sign("a", "cancel", user=user)
    for native in asked_by(Django(7)) + asked_by(Login()):
        assert statuses(surface, key, native) == {200, 202}
    for other in [None, Django(8), Django(77), ANONYMOUS, object()]:
        for native in asked_by(other):
            assert statuses(surface, key, native) == {404}
    assert statuses(surface, key, None) == {404}


def test_a_key_among_others_is_null_for_who_is_not_its_user(surface: Surface) -> None:
    key = surface.sign("a", user=7)
    for user, expected in ((Django(7), b'"id":"a"'), (Django(8), b":null}")):
        response = surface.answer(Request("GET", "", f"key={key}", {}, Server.THREADS, SimpleNamespace(user=user)))
        assert isinstance(response.body, bytes)
        assert expected in response.body


def test_a_key_that_is_bound_to_nobody_opens_for_everybody(surface: Surface) -> None:
    assert statuses(surface, surface.sign("a", "cancel"), None) == {200, 202}


@pytest.mark.parametrize("user", [ANONYMOUS, "", "x" * 129, object(), True])
def test_a_key_cannot_be_bound_to_nobody(surface: Surface, user: Any) -> None:
    with pytest.raises(ValueError, match="signed-in user"):
        surface.sign("a", user=user)


def test_the_user_is_part_of_what_is_signed() -> None:
    grant = read(SECRET, make(SECRET, ["a", "b"], "watch", 60, 0, 7), 0)
    assert grant is not None
    assert (grant.ids, grant.user) == (("a", "b"), "7")


def test_an_owner_is_distinguished_from_others_whatever_the_framework_gives() -> None:
    progresskit.configure("memory://", flush_seconds=30)
    with progresskit.observe("a", owner=7):
        progresskit.flush()
        for native in asked_by(Django(7)) + asked_by(Login()):
            assert owner_only(native, "a", "watch")
        for native in [*asked_by(Django(8)), *asked_by(ANONYMOUS), *asked_by(None), None]:
            assert not owner_only(native, "a", "watch")
        assert not owner_only(SimpleNamespace(user=Django(7)), "unknown", "watch")
    progresskit.configure()


def test_a_child_of_a_job_without_an_owner_is_nobodys() -> None:
    progresskit.configure("memory://", flush_seconds=30)
    with progresskit.observe("b"), progresskit.observe("c"):
        progresskit.flush()
        for native in [*asked_by(Django(7)), *asked_by(SimpleNamespace(is_authenticated=True, pk="None")), None]:
            assert not owner_only(native, "c", "watch")
    progresskit.configure()
