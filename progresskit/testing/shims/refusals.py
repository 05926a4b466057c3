"""Invalid keys, malformed requests and private files: refused alike by every shim."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import progresskit
from progresskit.web import sign, tokens

from .base import ShimFixtures, signing_key
from .clients import is_refused
from .jobs import finish, running

if TYPE_CHECKING:
    import httpx


SAME = {"Sec-Fetch-Site": "same-origin"}

PRIVATE = ("owner", "7731", "lease", "98.765", "password", "crc32")
"""Names and values of the fields that no page gets."""


def bad_keys(id: str) -> list[str]:
    now = time.time()
    good = sign(id)
    return [
        tokens.make("the secret of another site", id, "watch", 60, now),
        tokens.make(signing_key(), id, "watch", 60, now - 61),
        good[:-1],
        good + "x",
        good.replace("~", "~x", 1),
        "~",
        "~~",
        id,
        "not a key",
        "events.x",
        "ws",
        "%00",
        "é",
        "x" * 129,
        f"~{'A' * 26_000}~{'A' * 43}",
    ]


def fail(request: Any, id: str, right: str) -> bool:
    raise LookupError(id)


class RefusalsContract(ShimFixtures):
    """Which requests are refused, and how."""

    def test_every_key_that_opens_nothing_gets_the_very_same_answer(self, client: httpx.Client, id: str) -> None:
        finish(id)
        answers = [client.get(f"{bad}/") for bad in bad_keys(id)]
        answers += [client.get(f"{bad}/events/") for bad in bad_keys(id)]
        answers += [client.post(f"{bad}/cancel/", headers=SAME) for bad in bad_keys(id)]
        assert all(is_refused(answer) for answer in answers)
        assert len({answer.content for answer in answers}) == 1

    def test_a_key_for_one_job_reads_no_other(self, client: httpx.Client, id: str, key: str) -> None:
        finish(id)
        finish(f"{id}-secret")
        assert client.get(f"{key}/").json()["id"] == id
        payload, signature = key[1:].split("~")
        other = sign(f"{id}-secret")[1:].split("~")
        assert is_refused(client.get(f"~{other[0]}~{signature}/"))
        assert is_refused(client.get(f"~{payload}~{other[1]}/"))

    @pytest.mark.parametrize("path", ["?{keys}", "events/?{keys}"])
    def test_more_than_a_hundred_keys_are_too_many(self, client: httpx.Client, path: str) -> None:
        keys = [f"key=~{number}" for number in range(101)]
        assert client.get(path.format(keys="&".join(keys[:100]))).status_code == 200
        response = client.get(path.format(keys="&".join(keys)))
        assert response.status_code == 400
        assert response.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("path", ["", "events/", "?key=a&as=xml", "events/?key=a&as=", "?" + "&".join("k=" * 1001)])
    def test_what_cannot_be_meant_is_a_bad_request(self, client: httpx.Client, path: str) -> None:
        response = client.get(path)
        assert response.status_code == 400
        assert response.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("path", "allow"),
        [
            ("", "GET, HEAD"),
            ("events/", "GET, HEAD"),
            ("a/", "GET, HEAD, PUT"),
            ("a/events/", "GET, HEAD"),
            ("a/cancel/", "POST"),
            ("progresskit.js", "GET, HEAD"),
        ],
    )
    def test_a_wrong_method_is_sent_the_right_one(self, client: httpx.Client, path: str, allow: str) -> None:
        wrong = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"} - set(allow.split(", "))
        for method in wrong if self.any_method else wrong - {"BREW"}:
            response = client.request(method, path)
            assert response.status_code == 405, method
            assert response.headers["Allow"] == allow
            assert response.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "path", ["a/b/", "a/b/c/d/", "events/events/x", "a//events/", "//", "progresskit.js/", "a%0A/b"]
    )
    def test_an_address_that_does_not_exist_is_a_problem(self, client: httpx.Client, path: str) -> None:
        response = client.get(str(client.base_url) + path)
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/problem+json"

    def test_open_lets_everybody_watch_and_nobody_cancel(self, client: httpx.Client, id: str) -> None:
        progresskit.configure("memory://", allow_anonymous=True)
        with running(id):
            assert client.get(f"{id}/").json()["id"] == id
            assert is_refused(client.post(f"{id}/cancel/", headers=SAME))
            assert is_refused(client.get("with.dot/"))

    @pytest.mark.parametrize("is_async", [False, True])
    def test_the_site_decides_about_raw_ids(self, client: httpx.Client, id: str, is_async: bool) -> None:
        def allow(request: Any, id: str, right: str) -> bool:
            return self.user_of(request) == "ada" and id.startswith("import-") and right == "watch"

        async def allow_in_time(request: Any, id: str, right: str) -> bool:
            return allow(request, id, right)

        progresskit.configure("memory://", authorize=allow_in_time if is_async else allow)
        ada = {"X-User": "ada"}
        finish(id)
        assert client.get(f"{id}/", headers=ada).json()["id"] == id
        assert is_refused(client.get(f"{id}/"))
        assert is_refused(client.get("export-1/", headers=ada))
        assert is_refused(client.post(f"{id}/cancel/", headers=ada | SAME))
        assert client.get("", params={"key": [id, "export-1"]}, headers=ada).json()["jobs"]["export-1"] is None

    def test_a_site_that_fails_to_decide_refuses(self, client: httpx.Client, id: str) -> None:
        progresskit.configure("memory://", authorize=fail)
        finish(id)
        assert is_refused(client.get(f"{id}/"))

    def test_errors_are_kept_from_browsers_unless_they_are_meant_for_them(self, client: httpx.Client, id: str) -> None:
        for suffix, error in (("a", ValueError("password=1")), ("b", progresskit.PublicError("row 3 is empty"))):
            with pytest.raises(type(error)), running(f"{id}-{suffix}"):
                raise error
        progresskit.observe(f"{id}-c").fail("The disk is full")
        secret, public, text = (sign(f"{id}-{suffix}") for suffix in "abc")
        assert client.get(f"{secret}/").json()["error"] == {"type": "ValueError", "message": None}
        assert client.get(f"{public}/").json()["error"] == {"type": "PublicError", "message": "row 3 is empty"}
        assert client.get(f"{text}/").json()["error"] == {"type": "Error", "message": "The disk is full"}
        for path in (
            f"{secret}/",
            f"{secret}/?as=html",
            f"?key={secret}",
            f"{secret}/events/",
            f"events/?key={secret}",
        ):
            assert "password" not in client.get(path).text

    def test_no_private_field_leaves_the_server(self, client: httpx.Client, id: str) -> None:
        progresskit.configure("memory://", lease=98.765)
        with pytest.raises(ValueError, match="password"), running(id, owner="owner-7731"):
            raise ValueError("password=1")
        key = sign(id, "cancel")
        parts = {"key": [key, sign([id, f"{id}-other"])]}
        answers = [
            client.get(f"{key}/"),
            client.get("", params=parts),
            client.get(f"{key}/events/"),
            client.get("events/", params={"key": [key, key]}),
            client.post(f"{key}/cancel/", headers=SAME),
            client.get(f"{key}/", params={"as": "html"}),
            client.get("", params={**parts, "as": "html"}),
            client.get(f"{key}/events/", params={"as": "html"}),
            client.get("events/", params={"key": [key, key], "as": "html"}),
        ]
        for answer in answers:
            assert id in answer.text, answer.url
            sent = f"{answer.text} {answer.headers}"
            assert not [private for private in PRIVATE if private in sent], answer.url

    def test_a_site_may_show_all_errors(self, client: httpx.Client, id: str, key: str) -> None:
        progresskit.configure("memory://", expose_errors=True)
        with pytest.raises(ValueError, match="empty"), running(id):
            raise ValueError("row 3 is empty")
        assert client.get(f"{key}/").json()["error"]["message"] == "row 3 is empty"
        assert "row 3 is empty" in client.get(f"{key}/events/").text
