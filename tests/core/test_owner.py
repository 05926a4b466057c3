"""Whose job it is: named where the job is opened, kept with each record, and never told with it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from progresskit.errors import InvalidValue
from progresskit.integrations import Integration
from progresskit.kit import Kit
from progresskit.progress import Progress, State
from progresskit.web.users import signed_in_key


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", flush_seconds=30)  # for a busy machine
    yield kit
    kit.close()


def stored(kit: Kit, id: str) -> Progress:
    kit.flush()
    record = kit.get(id)
    assert record is not None
    return record


USERS = [
    (7, "7"),
    ("ada", "ada"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (SimpleNamespace(is_authenticated=True, pk=7), "7"),
    (SimpleNamespace(is_authenticated=True, get_id=lambda: "7"), "7"),
    ("a\ufffd", "a\ufffd"),
]


@pytest.mark.parametrize(("user", "owner"), USERS)
def test_an_owner_is_a_user_or_the_key_of_one(kit: Kit, user: Any, owner: str) -> None:
    with kit.observe("a", owner=user) as job:
        assert job.owner == job.progress.owner == owner
        assert stored(kit, "a").owner == owner
        job.update(current=3, meta={"owner": "somebody else"})
        assert (stored(kit, "a").owner, stored(kit, "a").current) == (owner, 3)
    assert stored(kit, "a").owner == owner


@pytest.mark.parametrize(
    "nobody", ["", "x" * 129, True, object(), 1.5, SimpleNamespace(is_authenticated=False, pk=None, id=7)]
)
def test_nobody_owns_nothing(kit: Kit, nobody: Any) -> None:
    with pytest.raises(InvalidValue, match="owner must be a signed-in user"):
        kit.observe("a", owner=nobody)
    with pytest.raises(InvalidValue, match="owner must be a signed-in user"):
        Integration(kit).enqueued("a", owner=nobody)
    kit.flush()
    assert kit.get("a") is None


@pytest.mark.parametrize("key", ["a\0", "a\ud800", "\udfff", "\0"])
def test_a_key_that_cannot_be_stored_unchanged_is_no_users(kit: Kit, key: str) -> None:
    for user in (key, SimpleNamespace(is_authenticated=True, pk=key)):
        with pytest.raises(InvalidValue, match="owner is a user's key that cannot be stored"):
            kit.observe("a", owner=user)
        assert signed_in_key(SimpleNamespace(user=user)) is None
    assert signed_in_key(SimpleNamespace(user="a\ufffd")) == "a\ufffd"


def test_an_owner_is_reported_to_nobody_with_the_record(kit: Kit) -> None:
    with kit.observe("a", owner="ada"):
        record = stored(kit, "a")
    assert "owner" not in record.to_dict()
    assert "ada" not in record.to_json()


def test_a_loop_has_an_owner_too(kit: Kit) -> None:
    assert [*kit.track(range(3), id="a", owner=7)] == [0, 1, 2]
    assert stored(kit, "a").owner == "7"


def test_a_child_has_the_owner_of_its_parent_by_default(kit: Kit) -> None:
    with kit.observe("a", owner="ada"), kit.observe("b"), kit.observe("c", owner="bob"):
        assert [stored(kit, id).owner for id in "abc"] == ["ada", "ada", "bob"]


def test_a_job_that_is_joined_keeps_its_own(kit: Kit) -> None:
    with kit.observe("a", owner="ada"), kit.observe(owner="bob") as joined:
        assert joined.owner == "ada"
    with kit.observe("b"), kit.observe(owner="bob"):
        assert stored(kit, "b").owner is None


def test_an_external_end_leaves_the_owner_as_it_is(kit: Kit) -> None:
    Integration(kit).enqueued("a", owner="ada")
    kit.flush()
    kit._update_externally("a", State.FAILED, error="lost", owner="bob")
    assert (stored(kit, "a").owner, stored(kit, "a").state) == ("ada", State.FAILED)


def test_a_start_that_names_no_owner_has_none(kit: Kit) -> None:
    Integration(kit).enqueued("a", owner="ada")
    with kit.observe("a"):
        assert stored(kit, "a").owner is None
