"""The request to cancel: `POST KEY/cancel/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from progresskit.web import sign

from .base import ShimFixtures
from .clients import eventually, is_refused
from .jobs import finish, running, stored

if TYPE_CHECKING:
    import httpx


SAME = {"Sec-Fetch-Site": "same-origin"}


class CancelRequestContract(ShimFixtures):
    """Requests to cancel a job: who may send them, and the answers."""

    def test_a_key_with_the_right_cancels(self, client: httpx.Client, id: str) -> None:
        with running(id) as observer:
            response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=SAME)
            assert response.status_code == 202
            assert response.json()["cancel_requested"] is True
            assert stored(id).cancel_requested
            assert eventually(lambda: observer.cancel_requested)

    def test_a_key_that_cancels_watches_too(self, client: httpx.Client, id: str) -> None:
        finish(id)
        assert client.get(f"{sign(id, 'cancel')}/").status_code == 200

    def test_a_key_to_watch_does_not_cancel(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id):
            assert is_refused(client.post(f"{key}/cancel/", headers=SAME))
            assert not stored(id).cancel_requested

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "https://elsewhere.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "{origin}"},
        ],
    )
    def test_a_page_of_another_site_cannot_cancel(
        self, client: httpx.Client, origin: str, id: str, headers: dict[str, str]
    ) -> None:
        with running(id):
            sent = {name: value.format(origin=origin) for name, value in headers.items()}
            response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=sent)
            assert response.status_code == 403
            assert response.headers["Content-Type"] == "application/problem+json"
            assert not stored(id).cancel_requested

    @pytest.mark.parametrize("headers", [SAME, {"Origin": "{origin}"}, {"X-Progresskit": "1"}])
    def test_a_page_of_this_site_and_a_script_can(
        self, client: httpx.Client, origin: str, id: str, headers: dict[str, str]
    ) -> None:
        with running(id):
            sent = {name: value.format(origin=origin) for name, value in headers.items()}
            assert client.post(f"{sign(id, 'cancel')}/cancel/", headers=sent).status_code == 202

    def test_cancelling_what_nobody_reported_is_worth_trying_again(self, client: httpx.Client, id: str) -> None:
        response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=SAME)
        assert response.status_code == 404
        assert response.headers["Retry-After"] == "1"

    def test_cancelling_what_is_done_reports_that_it_is(self, client: httpx.Client, id: str) -> None:
        finish(id)
        response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=SAME)
        assert response.status_code == 202
        assert response.json() == stored(id).to_dict()
