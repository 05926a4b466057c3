"""A mistake in the set-up is told when a process starts: no page, no task and no job is the first to meet it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import progresskit
from progresskit import ConfigurationError, Kit, UnknownScheme, default_kit
from progresskit_asgi import ProgressApp
from progresskit_flask import ProgressKit
from tests.adapters.celery.worker import ROOT, environment

URLS = [
    ("sqlite:///{folder}/missing/progress.db", "there is no folder {folder}/missing"),
    ("redis://localhost/abc", "not the number of a database"),
    ("amqp://localhost?foo=1", "the options are those of pika"),
    ("postgresql://localhost/x?foo=1", "option foo is not known"),
    ("kombu+sqs://", "Kombu"),
    ("carrier-pigeon://roof", "no backend for carrier-pigeon://"),
]
urls = pytest.mark.parametrize(("url", "hint"), URLS)


@pytest.fixture(autouse=True)
def restored_default_kit() -> Iterator[None]:
    progresskit.configure()
    yield
    default_kit.host_settings({}, check=False)
    default_kit.default().close()


@pytest.fixture
def secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_SECRET_KEY", "a secret of the tests")


# Flask.


def flask_site(**config: object) -> Flask:
    app = Flask("site")
    app.config.update({"SECRET_KEY": "the secret of the site"} | config)
    return app


@urls
def test_flask_is_given_a_url_in_its_config(url: str, hint: str, tmp_path: Path) -> None:
    before = default_kit.default().settings
    with pytest.raises(ConfigurationError) as raised:
        ProgressKit(flask_site(PROGRESSKIT_URL=url.format(folder=tmp_path)))
    assert hint.format(folder=tmp_path) in str(raised.value)
    assert default_kit.default().settings == before


@pytest.mark.parametrize("kit", [None, Kit()])
def test_flask_is_given_a_url_in_the_environment(kit: Kit | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "redis://localhost/abc")
    with pytest.raises(ConfigurationError, match="not the number of a database"):
        ProgressKit(flask_site(), kit=kit)
    if kit is not None:
        kit.close()


def test_flask_starts_where_what_is_wrong_is_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "memory://")
    ProgressKit(flask_site(PROGRESSKIT_URL="redis://localhost/abc"))
    assert default_kit.default().settings.url == "memory://"


@pytest.mark.usefixtures("secret_key")
@pytest.mark.parametrize("make", [ProgressKit, ProgressApp])
def test_arguments_that_cannot_be_are_reported(make: Callable[..., object]) -> None:
    for wrong in ("progress", "redis://:geheim@localhost/0", 7):
        with pytest.raises(ConfigurationError, match="url_prefix must be a path that begins with a slash") as raised:
            make(url_prefix=wrong)
        assert "geheim" not in str(raised.value)
    with pytest.raises(ConfigurationError, match=r"kit must be a progresskit\.Kit, not a str"):
        make(kit="redis://:geheim@localhost/0")
    for right in ("", "/", "/jobs/live/"):
        make(url_prefix=right)


# ASGI.


@urls
def test_an_asgi_site_is_given_a_url_in_the_environment(
    url: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", url.format(folder=tmp_path))
    default_kit.default().close()  # it reads the environment anew
    with pytest.raises(ConfigurationError) as raised:
        ProgressApp()
    assert hint.format(folder=tmp_path) in str(raised.value)


@pytest.mark.parametrize("kit", [None, Kit()])
def test_an_asgi_site_without_a_secret_key_is_reported(kit: Kit | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigurationError, match=r"there is none: set .*PROGRESSKIT_SECRET_KEY.* `authorize` or `allow_anonymous`"
    ):
        ProgressApp(kit=kit)
    for enough in ({"PROGRESSKIT_ALLOW_ANONYMOUS": "1"}, {"PROGRESSKIT_SECRET_KEY": "a secret of the tests"}):
        with monkeypatch.context() as patch:
            for name, value in enough.items():
                patch.setenv(name, value)
            ProgressApp(kit=kit)
    ProgressApp(kit=Kit(authorize=lambda request, id, right: True))


@pytest.mark.usefixtures("secret_key")
async def test_an_asgi_server_that_starts_is_notified_of_a_celery_app_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "celery://there_is_no_such_module:app")
    default_kit.default().close()
    app = ProgressApp()
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        said.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert "cannot import there_is_no_such_module" in said[0]["message"]


# Django, in processes of its own.

SETTINGS = """
import os
SECRET_KEY = "a secret of the tests, which is long enough"
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["progresskit_django", "site_of_tests"]
ROOT_URLCONF = "site_of_tests.urls"
PROGRESSKIT = {"URL": os.environ["SITE_URL"]}
CELERY_BROKER_URL, CELERY_RESULT_BACKEND = "memory://", "cache+memory://"
"""
URLCONF = """
from django.urls import include, path
urlpatterns = [path("progress/", include("progresskit_django.urls"))]
"""
MANAGE = """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
PREPARE = """
import os
from django.core.management.base import BaseCommand
class Command(BaseCommand):
    requires_system_checks = []
    def handle(self, **_):
        os.makedirs(os.path.dirname(os.environ["SITE_URL"].removeprefix("sqlite:///")))
"""
CELERY = """
from celery import Celery
import progresskit_celery
app = Celery("site_of_tests")
app.config_from_object("django.conf:settings", namespace="CELERY")
progresskit_celery.install(app)
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a function that runs Python in the folder of a Django project, with that URL in its settings."""
    commands = tmp_path / "site_of_tests" / "management" / "commands"
    commands.mkdir(parents=True)
    for path, text in {
        tmp_path / "manage.py": MANAGE,
        commands.parent.parent / "__init__.py": "",
        commands.parent.parent / "settings.py": SETTINGS,
        commands.parent.parent / "urls.py": URLCONF,
        commands.parent.parent / "celery.py": CELERY,
        commands / "prepare.py": PREPARE,
    }.items():
        path.write_text(text)

    def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "adapters")))
        more = {"SITE_URL": url, "DJANGO_SETTINGS_MODULE": "site_of_tests.settings", "PYTHONPATH": paths}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | more,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def missing(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/missing/progress.db"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_server_of_django_does_not_start(run: Run, missing: str, kind: str) -> None:
    start = f"from django.core.{kind} import get_{kind}_application as get; get(); print('started')"
    failed = run(missing, "-c", start)
    assert failed.returncode == 1
    assert "progresskit.errors.ConfigurationError: there is no folder" in failed.stderr.splitlines()[-1]
    assert run("memory://", "-c", start).stdout == "started\n"


@pytest.mark.parametrize("command", [["runserver", "--noreload", "0"], ["migrate"], ["check", "--tag", "progresskit"]])
def test_a_command_that_needs_the_project_whole_is_stopped_by_a_system_check(
    run: Run, missing: str, command: list[str]
) -> None:
    stopped = run(missing, "manage.py", *command)
    assert stopped.returncode == 1
    assert "(progresskit.E001) there is no folder" in stopped.stderr
    assert "HINT: Correct PROGRESSKIT" in stopped.stderr


def test_a_system_check_warns_of_urls_that_are_not_included(run: Run, tmp_path: Path) -> None:
    assert "progresskit.W001" not in run("memory://", "manage.py", "check").stderr
    (tmp_path / "site_of_tests" / "urls.py").write_text("urlpatterns = []\n")
    warned = run("memory://", "manage.py", "check")
    assert warned.returncode == 0, "a warning"
    assert "(progresskit.W001) Pages cannot ask for progress: its URLs are not included." in warned.stderr
    assert 'HINT: Add path("progress/", include("progresskit_django.urls")) to urlpatterns' in warned.stderr


def test_a_project_without_urls_is_not_warned_of_them(run: Run, tmp_path: Path) -> None:
    settings = tmp_path / "site_of_tests" / "settings.py"
    settings.write_text(SETTINGS.replace('ROOT_URLCONF = "site_of_tests.urls"', ""))
    checked = run("memory://", "manage.py", "check", "--tag", "progresskit")
    assert (checked.returncode, "progresskit.W001" in checked.stderr) == (0, False)


def test_a_command_that_mends_it_is_not_stopped(run: Run, missing: str) -> None:
    used = run(missing, "manage.py", "shell", "-c", "import progresskit; progresskit.get('a')")
    assert "ConfigurationError: there is no folder" in used.stderr, "what uses the kit is told"
    mended = run(missing, "manage.py", "prepare")
    assert (mended.returncode, mended.stderr) == (0, "")
    assert run(missing, "manage.py", "check").returncode == 0


def test_a_celery_worker_of_django_does_not_start(run: Run, missing: str) -> None:
    failed = run(missing, "-m", "celery", "-A", "site_of_tests", "worker", "-P", "solo")
    assert failed.returncode == 1
    assert "progresskit.errors.ConfigurationError: there is no folder" in failed.stderr


def test_progress_in_a_celery_app_that_is_still_being_imported_is_put_off_and_then_looked_at(
    run: Run, tmp_path: Path
) -> None:
    module = tmp_path / "site_of_tests" / "celery.py"
    module.write_text(f"import django\ndjango.setup()  # as some projects do\n{CELERY}")
    good, bad = "celery://site_of_tests.celery:app", "celery://site_of_tests.celeri:app"
    use = "import site_of_tests.celery, progresskit; print(progresskit.get('a'))"
    assert run(good, "-c", use).stdout == "None\n"
    assert run(good, "manage.py", "check").returncode == 0
    assert (
        "(progresskit.E001) celery://site_of_tests.celeri:app: cannot import" in run(bad, "manage.py", "check").stderr
    )


def test_what_is_no_dict_is_reported(run: Run, tmp_path: Path) -> None:
    settings = tmp_path / "site_of_tests" / "settings.py"
    settings.write_text(f"{SETTINGS}\nPROGRESSKIT = 'redis://:geheim@localhost/0'\n")
    failed = run("", "-c", "import django; django.setup()")
    assert "ConfigurationError: PROGRESSKIT must be a dict" in failed.stderr
    assert "geheim" not in failed.stderr.splitlines()[-1]


# Celery alone.


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite:///{folder}/missing/progress.db", "there is no folder"),
        ("celery://there_is_no_such_module:app", "cannot import there_is_no_such_module"),
    ],
)
def test_a_worker_does_not_start(url: str, hint: str, tmp_path: Path) -> None:
    failed = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "proj", "worker", "-P", "solo"],
        env=environment(tmp_path, PROGRESSKIT_URL=url.format(folder=tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert failed.returncode == 1
    assert "progresskit.errors.ConfigurationError: " in failed.stderr.splitlines()[-1]
    assert hint in failed.stderr.splitlines()[-1]


# Any other worker.


def test_a_worker_that_asks_for_it_is_notified_before_its_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "carrier-pigeon://roof")
    default_kit.default().close()
    with pytest.raises(UnknownScheme):
        progresskit.observe("job")
    with pytest.raises(UnknownScheme):
        progresskit.configure()
