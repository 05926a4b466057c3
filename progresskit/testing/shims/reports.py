"""Reports of programs elsewhere: `PUT KEY/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import progresskit
from progresskit.integrations import Integration, PartIdentity
from progresskit.web import sign

from .base import ShimFixtures
from .clients import is_refused
from .jobs import finish, running, stored
from .refusals import bad_keys

if TYPE_CHECKING:
    import httpx

OWN = {"X-Progresskit": "1"}
LARGE = 2**17
"""Bytes of a body that no server holds in the buffers of its sockets alone."""


class Reporter:
    """A program that reports a job over HTTP, in one run or several."""

    def __init__(self, client: httpx.Client, key: str) -> None:
        self.client, self.key = client, key
        self.run: str | None = None
        self.seq = 0

    def put(self, *, seq: int | None = None, **values: Any) -> httpx.Response:
        self.seq = self.seq + 1 if seq is None else seq
        run = {} if self.run is None else {"Progresskit-Run": self.run, "Progresskit-Seq": str(self.seq)}
        response = self.client.put(f"{self.key}/", json=values, headers=OWN | run)
        self.run = response.headers.get("Progresskit-Run", self.run)
        return response


def start(client: httpx.Client, id: str, **values: Any) -> Reporter:
    reporter = Reporter(client, sign(id, "report"))
    response = reporter.put(**values)
    assert response.status_code == 201, response.text
    return reporter


def unchanged(id: str, response: httpx.Response, status: int, before: progresskit.Progress) -> bool:
    return response.status_code == status and "Progresskit-Run" not in response.headers and stored(id) == before


class ReportsContract(ShimFixtures):
    """Reports over HTTP: who may send them, what they change, and the answers."""

    def test_a_program_reports_a_run_from_its_start_to_its_end(self, client: httpx.Client, id: str) -> None:
        reporter = start(client, id, current=1, total=4, unit="rows", description="Importing", meta={"host": "a"})
        assert client.get(f"{reporter.key}/").json() == stored(id).to_dict()
        response = reporter.put(current=2.5, description="Écrire")
        assert (response.status_code, response.json()) == (200, stored(id).to_dict())
        record = stored(id)
        assert (record.current, record.total, record.unit, record.description) == (2.5, 4, "rows", "Écrire")
        assert (record.percent, record.meta, str(record.version)) == (62.5, {"host": "a"}, "1.1.2")
        assert response.json()["cancel_requested"] is False
        progresskit.cancel(id)
        assert reporter.put().json()["cancel_requested"] is True
        assert reporter.put(state="succeeded", result={"rows": 4}).json()["result"] == {"rows": 4}
        record = stored(id)
        assert (record.state, record.percent, record.current) == (progresskit.State.SUCCEEDED, 100, 2.5)
        assert "Set-Cookie" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"

    def test_a_run_fails_and_is_tried_again_with_a_text_for_viewers(self, client: httpx.Client, id: str) -> None:
        at = "2099-01-31T12:00:00.000Z"
        reporter = start(client, id, current=3, total=4)
        record = reporter.put(state="retrying", error="No route to the shop", next_retry_at=at).json()
        assert (record["state"], record["attempt"], record["next_retry_at"]) == ("retrying", 1, at)
        assert record["error"] == {"type": "Error", "message": "No route to the shop"}
        record = reporter.put(current=1).json()
        assert (record["state"], record["attempt"], record["error"]) == ("running", 2, None)
        assert reporter.put(state="retrying").json()["next_retry_at"] is None
        later = start(client, id)  # another process, which does not know the run
        assert str(stored(id).version) == "1.3.1"
        assert reporter.put().status_code == 409
        error = {"type": "DiskFull", "message": "The disk is full"}
        assert later.put(state="failed", current=2, total=4, error=error).json()["error"] == error
        assert (stored(id).percent, stored(id).state) == (50, progresskit.State.FAILED)

    def test_a_report_whose_answer_was_lost_is_sent_again_and_a_stale_one_changes_nothing(
        self, client: httpx.Client, id: str
    ) -> None:
        reporter = start(client, id, current=1)
        reporter.put(current=2, seq=7)
        before = stored(id)
        again = reporter.put(current=2, seq=7)
        assert (again.status_code, again.json()) == (200, before.to_dict())
        for stale in (reporter.put(current=3, seq=7), reporter.put(current=2, seq=6)):
            assert unchanged(id, stale, 409, before)
            assert stale.headers["Content-Type"] == "application/problem+json"
        newer = start(client, id, current=9)
        assert stored(id).version.run == before.version.run + 1
        before = stored(id)
        assert unchanged(id, reporter.put(seq=8, state="failed"), 409, before)
        newer.put(state="succeeded", seq=2)
        before = stored(id)
        assert newer.put(state="succeeded", seq=2).json() == before.to_dict()
        assert unchanged(id, newer.put(state="failed", seq=3), 409, before)
        with running(id):
            before = stored(id)
            assert unchanged(id, newer.put(seq=4), 409, before), "a job of Python has taken the id"

    def test_a_key_without_the_right_changes_nothing(self, client: httpx.Client, id: str) -> None:
        progresskit.configure("memory://", allow_anonymous=True, authorize=lambda request, id, right: True)
        reporter = start(client, id)
        before = stored(id)
        refusals = set()
        for bad in [*bad_keys(id), sign(id), sign(id, "cancel"), sign(f"{id}-other", "cancel")]:
            for run in ({}, {"Progresskit-Run": reporter.run or "", "Progresskit-Seq": "9"}):
                response = client.put(f"{bad}/", json={"current": 9}, headers=OWN | run)
                assert is_refused(response), bad
                refusals.add(response.content)
        assert len(refusals) == 1
        assert stored(id) == before
        assert is_refused(client.post(f"{reporter.key}/cancel/", headers=OWN)), "who may report may not cancel"
        assert progresskit.get(f"{id}-other") is None

    @pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}])
    def test_a_page_of_another_site_cannot_report(self, client: httpx.Client, id: str, headers: dict[str, str]) -> None:
        response = client.put(f"{sign(id, 'report')}/", content=b"x" * LARGE, headers=headers)
        assert response.status_code == 403
        assert progresskit.get(id) is None
        finish(id)
        assert client.get(f"{sign(id)}/").status_code == 200, "a body that was not read is in no one's way"

    def test_a_malformed_report_names_what_is_wrong_and_changes_nothing(self, client: httpx.Client, id: str) -> None:
        reporter = start(client, id, current=1)
        before, run, other = stored(id), reporter.run or "", start(client, f"{id}-other").run or ""

        def put(content: bytes, **more: str) -> httpx.Response:
            named = {"Progresskit-Run": run, "Progresskit-Seq": "2"} | {k.replace("_", "-"): v for k, v in more.items()}
            return client.put(f"{reporter.key}/", content=content, headers=OWN | named)

        for name in ("kind", "owner", "parent", "part_of", "percent", "version", "attempt"):
            assert name in (refusal := put(f'{{"{name}": "a", "current": 2}}'.encode())).json()["detail"]
            assert unchanged(id, refusal, 400, before)
        for content in BAD_REPORTS:
            assert unchanged(id, put(content), 400, before), content
        for seq in ("0", "-1", "x", "1.5", str(2**53), "2, 3"):
            assert unchanged(id, put(b"{}", Progresskit_Seq=seq), 400, before), seq
        assert unchanged(
            id, client.put(f"{reporter.key}/", json={}, headers=OWN | {"Progresskit-Run": run}), 400, before
        )
        for forged in (other, run[:-1], run + "A", "x" + run, "", "~", reporter.key, reporter.key[1:], "x" * 5_000):
            assert unchanged(id, put(b"{}", Progresskit_Run=forged), 409, before), forged
        assert unchanged(id, put(b'{"description": "' + b"x" * 2**18 + b'"}'), 413, before)
        largest = put(b'{"state": "succeeded", "result": "' + b"\\u00e9" * 30_000 + b'"}')
        assert (largest.status_code, len(stored(id).result)) == (200, 30_000)

    def test_kind_owner_and_parent_stay_what_the_sender_has_said(self, client: httpx.Client, id: str) -> None:
        progresskit.group(f"{id}-all", size=1)
        part = PartIdentity(f"{id}-all", id)
        Integration().enqueued(id, kind="site.import", owner="ada", part=part)
        progresskit.flush()
        reporter = start(client, id, current=1, total=2)
        for state in ("running", "retrying", "running", "succeeded"):
            reporter.put(state=state)
            record = stored(id)
            assert (record.kind, record.owner, record.part_of) == ("site.import", "ada", f"{id}-all")
        assert str(stored(id).version) == "1.2.5"
        assert stored(f"{id}-all").state is progresskit.State.SUCCEEDED
        start(client, id)
        assert stored(id).owner is None, "the next run is not the same user's"

    def test_a_part_has_the_weight_that_its_first_report_says(self, client: httpx.Client, id: str) -> None:
        whole = f"{id}-all"
        progresskit.group(whole, size=2, weight=4)
        Integration().enqueued(id, part=PartIdentity(whole, id))
        progresskit.flush()
        reporter = start(client, id, current=1, total=2, weight=3)
        assert stored(whole).percent == 37.5
        assert reporter.put(weight=3, current=2).status_code == 200
        before = stored(id)
        assert unchanged(id, reporter.put(weight=1), 409, before)
        assert reporter.put(state="succeeded").status_code == 200
        assert stored(whole).percent == 75
        alone = client.put(f"{sign(f'{id}-alone', 'report')}/", json={"weight": 2}, headers=OWN)
        assert (alone.status_code, progresskit.get(f"{id}-alone")) == (409, None), "it is no part"

    def test_the_steps_of_a_job_are_declared_and_counted(self, client: httpx.Client, id: str) -> None:
        reporter = start(client, id, steps={"Download": 1, "Parse": 3, "Tidy": 1}, unit="rows")
        record = reporter.put(step={"name": "Download", "current": 1, "total": 4}).json()
        assert (record["step"], record["current"], record["total"], record["percent"]) == (1, 1, 4, 5)
        assert shown(record) == [("running", 25), ("pending", None), ("pending", None)]
        record = reporter.put(step={"name": "Parse", "total": 8}).json()
        assert (record["step"], record["current"], record["total"], record["percent"]) == (2, 0, 8, 20)
        assert shown(record) == [("succeeded", 100), ("running", 0), ("pending", None)]
        record = reporter.put(step={"name": "Parse", "current": 4}, description="Half").json()
        again = reporter.put(seq=reporter.seq, step={"name": "Parse", "current": 4}, description="Half").json()
        assert again == record
        assert (record["total"], record["percent"], record["unit"]) == (8, 50, "rows")
        assert reporter.put(meta={"a": 1}, steps={"Download": 1, "Parse": 3.0, "Tidy": 1}).json()["percent"] == 50
        record = reporter.put(state="retrying").json()
        assert (record["percent"], record["steps"][1]["state"]) == (50, "cancelled")
        record = reporter.put().json()
        assert (record["attempt"], record["percent"], record["step"]) == (2, 0, None)
        assert shown(record) == [("pending", None)] * 3
        reporter.put(step={"name": "Parse", "current": 1, "total": 1})
        record = reporter.put(state="succeeded").json()
        assert (record["percent"], record["current"]) == (100, 1)
        assert [each["state"] for each in record["steps"]] == ["skipped", "succeeded", "skipped"]

    def test_a_step_that_was_not_declared_and_a_count_beside_the_steps_change_nothing(
        self, client: httpx.Client, id: str
    ) -> None:
        reporter = start(client, id, steps=["Download", "Parse"])
        before = stored(id)
        for content in (
            {"current": 1},
            {"total": 1},
            {"step": {"name": "Download"}, "current": 1},
            {"step": {"name": "Tidy"}},
            {"steps": ["Parse", "Download", "Tidy"]},
        ):
            assert unchanged(id, reporter.put(**content), 409, before), content
        counting = start(client, f"{id}-counting", current=1)
        before = stored(f"{id}-counting")
        for content in ({"step": {"name": "Download"}}, {"steps": ["Download"]}):
            assert unchanged(f"{id}-counting", counting.put(**content), 409, before), content
        progresskit.group(f"{id}-all", size=1)
        assert client.put(f"{sign(f'{id}-all', 'report')}/", json={"steps": ["a"]}, headers=OWN).status_code == 409

    def test_a_token_of_a_user_reports_while_that_user_is_signed_in(self, client: httpx.Client, id: str) -> None:
        progresskit.configure("memory://", user=self.user_of)
        key = sign(id, "report", user="ada")
        assert client.put(f"{key}/", json={}, headers=OWN | {"X-User": "ada"}).status_code == 201
        before = stored(id)
        for user in ({}, {"X-User": "eve"}):
            assert is_refused(client.put(f"{key}/", json={}, headers=OWN | user))
        assert stored(id) == before


def shown(record: dict[str, Any]) -> list[tuple[str, float | None]]:
    return [(step["state"], step["percent"]) for step in record["steps"]]


BAD_REPORTS = (
    b"",
    b"null",
    b"[]",
    b"{",
    b'"x"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"current": -1}',
    b'{"current": "1"}',
    b'{"current": true}',
    b'{"current": 1e400}',
    b'{"total": NaN}',
    b'{"total": 9007199254740993}',
    b'{"unit": 1}',
    b'{"description": {}}',
    b'{"meta": []}',
    b'{"meta": {"a": "' + b"x" * 8_192 + b'"}}',
    b'{"state": "pending"}',
    b'{"state": ["running"]}',
    b'{"result": 1}',
    b'{"state": "succeeded", "result": "' + b"x" * 2**16 + b'"}',
    b'{"state": "running", "error": "x"}',
    b'{"state": "failed", "error": {"type": "x"}}',
    b'{"state": "failed", "error": {"message": "x", "trace": "x"}}',
    b'{"state": "retrying", "next_retry_at": "2099-01-31T12:00:00"}',
    b'{"state": "retrying", "next_retry_at": 1}',
    b'{"state": "running", "next_retry_at": "2099-01-31T12:00:00Z"}',
    b'{"curent": 1}',
    b'{"step": "Parse"}',
    b'{"step": {"current": 1}}',
    b'{"step": {"name": ""}}',
    b'{"step": {"name": "Parse", "current": -1}}',
    b'{"step": {"name": "Parse", "percent": 1}}',
    b'{"steps": {}}',
    b'{"steps": "Parse"}',
    b'{"steps": ["Parse", "Parse"]}',
    b'{"steps": {"Parse": 0}}',
    b'{"steps": [{"name": "Parse"}]}',
    b'{"weight": true}',
    b'{"weight": 0}',
    b'{"weight": 1000001}',
    b'{"weight": 1.5}',
    b'{"weight": "3"}',
)
