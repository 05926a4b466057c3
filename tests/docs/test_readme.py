"""What README.md has its reader paste into files is run as it stands, from an empty folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.adapters.celery.worker import start_worker
from tests.services import server

from .pages import README, blocks, readme_files
from .running import python


class Site(NamedTuple):
    """A folder with a Django project and all that README.md adds, while its worker runs; `env` is for others."""

    folder: Path
    env: dict[str, str]
    pasted: set[str]

    def run(self, script: str) -> str:
        return python("-c", script, cwd=self.folder, **self.env)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], None]) -> Iterator[Site]:
    needs("redis")
    folder = tmp_path_factory.mktemp("readme")
    python("-m", "django", "startproject", "proj", ".", cwd=folder)
    pasted = paste(folder)
    # Celery takes this for another broker than the app names: the server has a free port here.
    env = {"CELERY_BROKER_URL": server("redis").fresh()}
    # A file that does not say where progress is kept is not to be helped by the environment.
    with start_worker(folder, app="tasks", concurrency=1, env=env | {"PROGRESSKIT_URL": "memory://"}) as worker:
        yield Site(folder, env, pasted)
        worker.kill()  # no need to wait for what it does at its end


def paste(folder: Path) -> set[str]:
    """Write the files, or add to them; return their names."""
    names = set()
    for block in blocks(README):
        for name, there, code in readme_files(block):
            path = folder / "proj" / name
            path = path if path.exists() else folder / name
            assert path.exists() is there
            with path.open("a") as file:
                file.write(code)
            names.add(name)
    return names


WATCHED = """
import re, time
import progresskit

(source,) = re.findall('<progress-bar src="([^"]+)" cancel>', page)
while get(source).status_code == 404:  # it is told in a moment
    time.sleep(0.01)
while not (record := read(get(source)))["current"]:
    time.sleep(0.01)
{then}
*_, last = progresskit.watch(record["id"])
print(last.state, last.kind, last.total, read(get(source))["state"])
"""

FLASK = """
import web

get, read = web.app.test_client().get, lambda answer: answer.json
page = get("/").text
"""

CANCEL = """
assert web.app.test_client().post(f"{source}cancel/", headers={"X-Progresskit": "1"}).status_code == 202
"""

DJANGO = """
import os
import django

os.environ["DJANGO_SETTINGS_MODULE"] = "proj.settings"
django.setup()
from django.template import Context, Template
from django.test import Client
from tasks import count

get, read = Client(headers={"host": "localhost"}).get, lambda answer: answer.json()
page = Template(TEMPLATE).render(Context({"task": count.delay(2)}))
"""


def test_a_page_of_flask_shows_a_task_and_cancels_it(site: Site) -> None:
    output = site.run(FLASK + WATCHED.format(then=CANCEL))
    assert output == "cancelled tasks.import_rows 300 cancelled\n"


def test_a_page_of_django_shows_a_classic_task_to_its_end(site: Site) -> None:
    (template,) = [block.code for block in blocks(README) if block.language == "django"]
    output = site.run(f"TEMPLATE = {template!r}\n{DJANGO}{WATCHED.format(then='')}")
    assert output == "succeeded tasks.count 2 succeeded\n"


def test_each_file_is_run(site: Site) -> None:
    assert site.pasted == {
        "app.py",  # docs/examples/quickstart.py, which is run as such
        "tasks.py",
        "web.py",
        "settings.py",
        "urls.py",
    }
