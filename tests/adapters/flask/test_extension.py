"""What is Flask's own: its config, the factory pattern, and the template function."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, render_template_string, request
from flask.testing import FlaskClient

import progresskit
from progresskit import Kit, Progress, State, Version, default_kit
from progresskit.web import owner_only
from progresskit_flask import ProgressKit
from progresskit_flask import signed_in as user_of_request

PAGE = "{{ progress_bar('a') }}{{ progress_bar('b', cancel=True) }}{{ progress_bar('c', ttl=60) }}"


@pytest.fixture(autouse=True)
def restored_default_kit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROGRESSKIT_FLUSH_SECONDS", "60")  # for a busy machine
        progresskit.configure()
        yield
    progresskit.configure()
    default_kit.host_settings({})


def site(**config: object) -> Flask:
    app = Flask("site")
    app.config.update({"SECRET_KEY": "the secret of the site"} | config)
    app.add_url_rule("/", view_func=lambda: render_template_string(PAGE), endpoint="page")
    return app


@pytest.fixture
def client() -> FlaskClient:
    app = site()
    ProgressKit(app)
    return app.test_client()


def test_the_config_of_the_app_is_that_of_the_default_kit() -> None:
    ProgressKit(
        site(SECRET_KEY_FALLBACKS=["the one before"], PROGRESSKIT_URL="memory://here", PROGRESSKIT_MAX_STREAMS=7)
    )
    settings = default_kit.default().settings
    assert (settings.url, settings.max_streams) == ("memory://here", 7)
    assert settings.secret_key == ["the secret of the site", "the one before"]


def test_a_secret_key_of_its_own_comes_first() -> None:
    ProgressKit(site(PROGRESSKIT_SECRET_KEY="its own"))
    assert default_kit.default().settings.secret_key == "its own"


def test_a_setting_that_does_not_exist_is_reported_at_the_start() -> None:
    with pytest.raises(progresskit.ConfigurationError, match="'uri'"):
        ProgressKit(site(PROGRESSKIT_URI="redis://localhost"))


@pytest.mark.parametrize("key", [None, "", b""])
def test_an_app_without_a_secret_key_is_reported_at_the_start(key: object) -> None:
    with pytest.raises(
        progresskit.ConfigurationError, match=r"there is none: set SECRET_KEY.* `authorize` or `allow_anonymous`"
    ):
        ProgressKit(site(SECRET_KEY=key))


@pytest.mark.parametrize("open_by", [{"PROGRESSKIT_ALLOW_ANONYMOUS": True}, {"PROGRESSKIT_AUTHORIZE": owner_only}])
def test_an_app_that_needs_no_key_starts_without_and_signing_raises_an_error(open_by: dict[str, object]) -> None:
    app = site(SECRET_KEY=None, **open_by)
    ProgressKit(app)
    with app.test_request_context(), pytest.raises(progresskit.ConfigurationError, match="SECRET_KEY"):
        render_template_string(PAGE)


def test_one_extension_serves_the_apps_of_a_factory() -> None:
    extension = ProgressKit(url_prefix="/jobs/")
    for _ in range(2):
        app = site()
        extension.init_app(app)
        assert app.extensions["progresskit"] is extension
        assert app.test_client().get("/jobs/progresskit.js").status_code == 200
        assert app.test_client().get("/progress/progresskit.js").status_code == 404


def test_an_app_may_have_a_kit_of_its_own() -> None:
    kit = Kit("memory://", secret_key="of the kit")
    app = site()
    ProgressKit(app, kit=kit)
    with kit.observe("a"):
        kit.flush()
        page = app.test_client().get("/").text
        key = re.findall(r'src="/progress/(~[^/"]+)/"', page)[0]
        assert app.test_client().get(f"/progress/{key}/").get_json()["id"] == "a"
    assert default_kit.default().settings.secret_key is None
    kit.close()


def test_a_page_has_its_bars_and_the_script_once(client: FlaskClient) -> None:
    for _ in range(2):
        html = client.get("/").text
        assert re.fullmatch(
            r'<progress-bar src="/progress/~[\w~-]+/"><noscript>.*?</noscript></progress-bar>'
            r'<script type="module" src="/progress/progresskit.js"></script>'
            r'<progress-bar src="/progress/~[\w~-]+/" cancel><noscript>.*?</noscript></progress-bar>'
            r'<progress-bar src="/progress/~[\w~-]+/"><noscript>.*?</noscript></progress-bar>',
            html,
        )


def test_a_browser_without_javascript_sees_the_job_as_it_was_when_the_page_was_made(client: FlaskClient) -> None:
    with progresskit.observe("a", total=4, unit="rows", description="Reading <all>") as job:
        job.advance()
        progresskit.flush()
        html = client.get("/").text
    first, second, third = re.findall("<noscript>(.*?)</noscript>", html)
    assert "Reading &lt;all&gt;" in first
    assert "1 of 4 rows" in first
    assert "Last report <time" in first
    assert "No report when this page was loaded" in second
    assert "No report when this page was loaded" in third


def test_a_record_that_is_given_is_not_read() -> None:
    app = site()
    ProgressKit(app)
    record = Progress("a", State.RUNNING, Version(1, 1, 1), current=3, total=10)
    with app.test_request_context():
        assert "3 of 10" in render_template_string("{{ progress_bar('a', record=record) }}", record=record)


def test_only_a_bar_with_a_button_has_the_right_to_cancel(client: FlaskClient) -> None:
    watch, cancel, _ = re.findall(r'src="/progress/(~[^/"]+)/"', client.get("/").text)
    headers = {"X-Progresskit": "1"}
    with progresskit.observe("a"), progresskit.observe("b"):
        progresskit.flush()
        assert client.get(f"/progress/{watch}/").get_json()["id"] == "a"
        assert client.post(f"/progress/{watch}/cancel/", headers=headers).status_code == 404
        assert client.post(f"/progress/{cancel}/cancel/", headers=headers).status_code == 202


def test_a_site_below_a_folder_finds_itself(client: FlaskClient) -> None:
    html = client.get("/", environ_overrides={"SCRIPT_NAME": "/shop"}).text
    assert html.count('src="/shop/progress/') == 4


def test_an_id_that_is_none_is_reported_to_who_wrote_the_page() -> None:
    app = site()
    ProgressKit(app)
    with app.test_request_context(), pytest.raises(progresskit.InvalidId):
        render_template_string("{{ progress_bar(nothing) }}")


# Who is signed in


class User:
    """A user as Flask-Login has it."""

    is_authenticated, is_active, is_anonymous = True, True, False

    def __init__(self, name: str) -> None:
        self._name = name

    def get_id(self) -> str:
        return self._name


def login_site(page: str, **config: object) -> Flask:
    """Give a site with Flask-Login, to which `/login/NAME` signs in."""
    from flask_login import LoginManager, login_user  # type: ignore[import-untyped]

    app = site(**config)
    manager = LoginManager(app)
    manager.user_loader(User)
    app.add_url_rule("/login/<name>", view_func=lambda name: str(login_user(User(name))), endpoint="login")
    app.add_url_rule("/bar", view_func=lambda: render_template_string(page), endpoint="bar")
    ProgressKit(app)
    return app


def signed_in(app: Flask, name: str) -> FlaskClient:
    client = app.test_client()
    assert client.get(f"/login/{name}").text == "True"
    return client


@pytest.mark.parametrize(
    ("page", "bind"), [("{{ progress_bar('a', user=current_user) }}", False), ("{{ progress_bar('a') }}", True)]
)
def test_a_bar_may_open_for_who_is_signed_in_only(page: str, bind: bool) -> None:
    app = login_site(page, PROGRESSKIT_BIND_TOKENS_TO_USER=bind)
    ada, bob = signed_in(app, "ada"), signed_in(app, "bob")
    (key,) = re.findall(r'src="/progress/(~[^/"]+)/"', ada.get("/bar").text)
    with progresskit.observe("a"):
        progresskit.flush()
        assert [who.get(f"/progress/{key}/").status_code for who in (ada, bob, app.test_client())] == [200, 404, 404]


def test_a_page_for_nobody_binds_no_bar() -> None:
    app = login_site("{{ progress_bar('a') }}", PROGRESSKIT_BIND_TOKENS_TO_USER=True)
    app.testing = True
    with pytest.raises(ValueError, match="signed-in user"):
        app.test_client().get("/bar")


def test_an_owner_is_who_is_signed_in_with_flask_login() -> None:
    app = login_site("", PROGRESSKIT_AUTHORIZE=owner_only)
    with progresskit.observe("a", owner=User("ada")):
        progresskit.flush()
        clients = signed_in(app, "ada"), signed_in(app, "bob"), app.test_client()
        assert [client.get("/progress/a/").status_code for client in clients] == [200, 404, 404]


def test_a_site_without_flask_login_says_who_is_signed_in() -> None:
    app = site(PROGRESSKIT_AUTHORIZE=owner_only, PROGRESSKIT_USER=lambda request: request.headers.get("X-User"))
    ProgressKit(app)
    plain = site()
    plain.before_request(lambda: setattr(request, "user", request.headers.get("X-User")))
    ProgressKit(plain, kit=(kit := Kit("memory://", authorize=owner_only, user=user_of_request)))
    with progresskit.observe("a", owner="ada"), kit.observe("b", owner="ada"):
        progresskit.flush()
        kit.flush()
        for client, path in ((app.test_client(), "/progress/a/"), (plain.test_client(), "/progress/b/")):
            assert [client.get(path, headers={"X-User": name}).status_code for name in ("ada", "bob")] == [200, 404]
    kit.close()


def frames_of(client: FlaskClient, path: str, **headers: str) -> Iterator[bytes]:
    """Give what a stream says, as the server takes it: after the view, outside of the request's context."""
    response = client.get(path, headers=headers)
    assert response.status_code == 200
    return (frame for frame in response.response if b"data: " in frame or b"retry: " in frame)  # type: ignore[misc]


def begin(owner: str, description: str) -> progresskit.ProgressObserver:
    job = progresskit.observe("a", owner=owner, description=description)
    progresskit.flush()
    return job


def test_a_stream_asks_again_who_is_signed_in_with_flask_login() -> None:
    app = login_site("", PROGRESSKIT_AUTHORIZE=owner_only, PROGRESSKIT_MAX_STREAMS=9)
    jobs = [begin("ada", "the first")]
    frames = frames_of(signed_in(app, "ada"), "/progress/a/events/")
    assert b"retry: 1000" in next(frames)
    assert b"the first" in next(frames)
    jobs.append(begin("ada", "the second"))
    assert b"the second" in next(frames)
    jobs.append(begin("bob", "the third"))
    assert list(frames) == [b"retry: 1000\n\n"]
    jobs.append(begin("ada", "the fourth"))
    frames = frames_of(signed_in(app, "ada"), "/progress/a/events/")
    assert b"the fourth" in [next(frames), next(frames)][1]
    app.login_manager.user_loader(lambda name: None)  # type: ignore[attr-defined]  # the user was removed
    jobs.append(begin("ada", "the fifth"))
    assert list(frames) == [b"retry: 1000\n\n"]


def test_a_stream_asks_again_with_the_same_request() -> None:
    seen: list[Any] = []

    def authorize(native: Any, id: str, right: str) -> bool:
        seen.append((native.user, request.user, request.path))  # type: ignore[attr-defined]
        return True

    app = site(PROGRESSKIT_AUTHORIZE=authorize, PROGRESSKIT_MAX_STREAMS=9)
    app.before_request(lambda: setattr(request, "user", request.headers.get("X-User")))
    ProgressKit(app)
    jobs = [begin("ada", "the first")]
    frames = frames_of(app.test_client(), "/progress/a/events/", **{"X-User": "ada"})
    assert b"the first" in [next(frames), next(frames)][1]
    jobs.append(begin("bob", "the second"))
    assert b"the second" in next(frames)
    assert len(seen) == 3  # at the opening, of the first run, which was not known yet, and of the second
    assert set(seen) == {("ada", "ada", "/progress/a/events/")}


def test_the_hosts_that_flask_trusts_are_respected() -> None:
    app = site(TRUSTED_HOSTS=["www.example.com"])
    ProgressKit(app)
    client = app.test_client()
    assert client.get("/progress/progresskit.js", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/progress/progresskit.js", headers={"Host": "www.example.com"}).status_code == 200


def test_the_config_may_say_which_hosts_progress_is_for() -> None:
    app = site(PROGRESSKIT_ALLOWED_HOSTS=["www.example.com"])
    ProgressKit(app)
    client = app.test_client()
    refused = client.get("/progress/progresskit.js", headers={"Host": "evil.example"})
    assert (refused.status_code, refused.content_type) == (400, "application/problem+json")
    assert client.get("/progress/progresskit.js", headers={"Host": "www.example.com"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 200, "the site's own addresses are its own"
