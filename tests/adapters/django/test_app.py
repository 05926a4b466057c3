"""What is Django's own: settings, the template tag, middleware that would hold streams back, database connections."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import progresskit
from progresskit import default_kit
from progresskit.web import owner_only, sign, tokens
from tests.contract.shims import OLD_SECRET, SECRET, set_up_django, use_django_settings

set_up_django()

from django.db import connection, connections  # noqa: E402
from django.template import Context, Template, engines  # noqa: E402
from django.test import AsyncClient, Client, RequestFactory, override_settings  # noqa: E402
from django.urls import resolve  # noqa: E402
from django.utils.functional import SimpleLazyObject  # noqa: E402

from progresskit_django import views  # noqa: E402

ASKERS: tuple[dict[str, str], ...] = ({"X-User": "7"}, {"X-User": "8"}, {})
NOBODY = SimpleNamespace(is_authenticated=False, pk=None)
GZIP = override_settings(MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"])


@pytest.fixture(autouse=True)
def restored_default_kit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROGRESSKIT_FLUSH_SECONDS", "60")  # for a busy machine
        progresskit.configure("memory://", max_streams=5)  # Django's test client says that it has no threads
        use_django_settings()
        yield
    progresskit.configure()
    default_kit.host_settings({})


def render(template: str, **values: Any) -> str:
    return str(Template("{% load progresskit %}" + template).render(Context(values)))


def key_in(html: str) -> str:
    found = re.search(r'src="/progress/(~[^/"]+)/"', html)
    assert found is not None
    return found[1]


# Settings


def test_the_keys_of_the_project_sign_and_its_fallbacks_are_accepted() -> None:
    assert default_kit.default().settings.secret_key == [SECRET, OLD_SECRET]


@override_settings(PROGRESSKIT={"MAX_STREAMS": 5, "SECRET_KEY": "its own"})
def test_the_project_sets_what_it_likes() -> None:
    progresskit.configure()
    use_django_settings()
    assert default_kit.default().settings.max_streams == 5
    assert default_kit.default().settings.secret_key == "its own"


@override_settings(PROGRESSKIT={"URI": "redis://localhost"})
def test_a_setting_that_does_not_exist_is_reported_at_the_start() -> None:
    with pytest.raises(progresskit.ConfigurationError, match="'uri'"):
        use_django_settings()


@override_settings(SECRET_KEY="")
def test_a_project_without_a_secret_key_starts_and_signing_raises_an_error() -> None:
    use_django_settings()
    with pytest.raises(progresskit.ConfigurationError, match="SECRET_KEY"):
        render('{% progress_bar "import-42" %}')


# The tag


def test_the_tag_renders_a_bar_whose_key_opens_the_job() -> None:
    html = render("{% progress_bar id %}", id="import-42")
    with progresskit.observe("import-42"):
        progresskit.flush()
        assert Client().get(f"/progress/{key_in(html)}/").json()["id"] == "import-42"
        assert Client().post(f"/progress/{key_in(html)}/cancel/", headers={"X-Progresskit": "1"}).status_code == 404
    assert re.fullmatch(
        r'<progress-bar src="/progress/~[\w~-]+/"><noscript>.*</noscript></progress-bar>'
        r'<script type="module" src="/progress/progresskit.js"></script>',
        html,
    )


def test_a_browser_without_javascript_sees_the_job_as_it_was_when_the_page_was_made() -> None:
    assert "No report when this page was loaded" in render("{% progress_bar id %}", id="import-42")
    with progresskit.observe("import-42", total=4, unit="rows", description="Reading <all>") as job:
        job.advance()
        progresskit.flush()
        html = render("{% progress_bar id %}", id="import-42")
    assert "Reading &lt;all&gt;" in html
    assert "1 of 4 rows" in html
    assert "Last report <time" in html
    record = progresskit.get("import-42")
    assert "succeeded" in render("{% progress_bar id record=record %}", id="import-42", record=record)


def test_a_bar_with_a_button_has_the_right_to_cancel() -> None:
    html = render('{% progress_bar "import-42" cancel=True %}')
    assert " cancel><noscript>" in html
    with progresskit.observe("import-42"):
        progresskit.flush()
        assert Client().post(f"/progress/{key_in(html)}/cancel/", headers={"X-Progresskit": "1"}).status_code == 202


def test_a_bar_is_good_for_as_long_as_it_says() -> None:
    html = render('{% progress_bar "import-42" ttl=60 %}')
    grant = tokens.read(SECRET, key_in(html), 0)
    day = tokens.read(SECRET, key_in(render('{% progress_bar "import-42" %}')), 0)
    assert grant is not None
    assert day is not None
    assert day.expires - grant.expires == pytest.approx(86_400 - 60, abs=5)


def test_each_page_brings_the_script_once_wherever_its_bars_are() -> None:
    included = engines["django"].from_string('{% load progresskit %}{% progress_bar "b" %}')
    page = (
        "{% include included %}{% include included only %}{% for id in ids %}{% progress_bar id %}{% endfor %}"
        '{% with x=1 %}{% progress_bar "c" %}{% endwith %}'
    )
    for _ in range(2):
        html = render(page, included=included, ids=["d", "e"])
        assert html.count("<progress-bar") == 5
        assert html.count("<script") == 1


def test_one_context_may_render_two_pages() -> None:
    template, context = Template('{% load progresskit %}{% progress_bar "a" %}'), Context()
    assert [template.render(context).count("<script") for _ in range(2)] == [1, 1]


def test_an_id_that_is_none_is_reported_to_who_wrote_the_page() -> None:
    with pytest.raises(progresskit.InvalidId):
        render("{% progress_bar nothing %}")


# Who is signed in


class User:
    """A user as Django has it."""

    is_authenticated = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


def sign_in(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Be the middleware that sets `request.user`, by a header."""

    def answer(request: Any) -> Any:
        name = request.headers.get("X-User")
        request.user = SimpleLazyObject(lambda: User(int(name)) if name else NOBODY)
        return get_response(request)

    return answer


SIGNED_IN = override_settings(MIDDLEWARE=[f"{__name__}.sign_in"])


def requested(user: Any) -> Any:
    request = RequestFactory().get("/")
    request.user = user
    return request


@pytest.mark.parametrize(
    ("bar", "bind"), [('{% progress_bar "a" user=request.user %}', False), ('{% progress_bar "a" %}', True)]
)
def test_a_bar_may_open_for_who_is_signed_in_only(bar: str, bind: bool) -> None:
    progresskit.configure("memory://", bind_tokens_to_user=bind)
    key = key_in(render(bar, request=requested(User(7))))
    with progresskit.observe("a"), SIGNED_IN:
        progresskit.flush()
        statuses = [Client().get(f"/progress/{key}/", headers=who).status_code for who in ASKERS]
    assert statuses == [200, 404, 404]


@pytest.mark.parametrize("context", [{}, {"request": requested(None)}, {"request": requested(NOBODY)}])
def test_a_page_for_nobody_binds_no_bar(context: dict[str, Any]) -> None:
    progresskit.configure("memory://", bind_tokens_to_user=True)
    with pytest.raises((ValueError, progresskit.ConfigurationError), match="user"):
        render('{% progress_bar "a" %}', **context)
    with pytest.raises(ValueError, match="signed-in user"):
        render('{% progress_bar "a" user=request.user %}')


def test_an_owner_is_who_is_signed_in() -> None:
    progresskit.configure("memory://", authorize=owner_only)
    with progresskit.observe("a", owner=User(7)), SIGNED_IN:
        progresskit.flush()
        assert [Client().get("/progress/a/", headers=who).status_code for who in ASKERS] == [200, 404, 404]


async def test_an_owner_is_who_is_signed_in_in_a_loop() -> None:
    progresskit.configure("memory://", authorize=owner_only)
    with progresskit.observe("a", owner=User(7)), SIGNED_IN:
        progresskit.flush()
        statuses = [(await AsyncClient().get("/progress/a/", headers=who)).status_code for who in ASKERS]
    assert statuses == [200, 404, 404]


# Middleware, servers and databases


def test_compression_does_not_hold_a_stream_back() -> None:
    with progresskit.observe("import-42"), GZIP:
        response = Client().get(f"/progress/{sign('import-42')}/events/", headers={"Accept-Encoding": "gzip"})
        frames = iter(response)
        assert next(frames) == b"retry: 1000\n\n"
        assert b"import-42" in next(frames)
        response.close()


async def test_compression_does_not_hold_a_stream_back_in_a_loop() -> None:
    with progresskit.observe("import-42"), GZIP:
        response = await AsyncClient().get(
            f"/progress/{sign('import-42')}/events/", headers={"Accept-Encoding": "gzip"}
        )
        frames = aiter(response)
        assert await anext(frames) == b"retry: 1000\n\n"
        assert b"import-42" in await anext(frames)
        await frames.aclose()


def test_compression_does_not_break_polling() -> None:
    with progresskit.observe("import-42", meta={"long": "x" * 400}), GZIP:
        progresskit.flush()
        path, asking = f"/progress/{sign('import-42')}/", {"Accept-Encoding": "gzip"}
        response = Client().get(path, headers=asking)
        assert response.headers["Content-Encoding"] == "gzip"
        again = Client().get(path, headers=asking | {"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304


def test_the_view_is_plain_without_a_loop() -> None:
    assert not iscoroutinefunction(resolve("/progress/").func)


async def test_the_view_is_a_coroutine_function_in_a_loop() -> None:
    assert iscoroutinefunction(resolve("/progress/").func)


@pytest.mark.parametrize("view", [views.view, views.async_view])
def test_a_view_waits_in_no_transaction_and_asks_for_no_csrf_token(view: Any) -> None:
    assert view._non_atomic_requests == {"default"}
    assert view.csrf_exempt is True


def test_a_stream_keeps_no_database_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def authorize(request: Any, id: str, right: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert connection.connection is not None
        return True

    connections["default"].close()
    if connection.vendor == "sqlite":  # a real file; other tests of this process may have set up a server
        monkeypatch.setitem(connections["default"].settings_dict, "NAME", str(tmp_path / "site.sqlite3"))
    progresskit.configure("memory://", authorize=authorize, max_streams=5)
    with progresskit.observe("import-42"):
        response = Client().get("/progress/import-42/events/")
        frames = iter(response)
        next(frames)
        next(frames)
        assert connection.connection is None
        response.close()


# Hosts


@override_settings(ALLOWED_HOSTS=["www.example.com"], MIDDLEWARE=[])
def test_the_hosts_that_django_allows_are_respected_whatever_middleware_there_is() -> None:
    refused = Client().get("/progress/progresskit.js", headers={"Host": "evil.example"})
    assert refused.status_code == 400
    assert Client().get("/progress/progresskit.js", headers={"Host": "www.example.com"}).status_code == 200


@pytest.mark.parametrize(("host", "status"), [("testserver", 200), ("www.example.com", 400)])
async def test_django_respects_its_hosts_under_asgi_too(host: str, status: int) -> None:
    with override_settings(ALLOWED_HOSTS=[host], MIDDLEWARE=[]):
        assert (await AsyncClient().get("/progress/progresskit.js")).status_code == status
