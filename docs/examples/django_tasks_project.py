import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["progresskit_django_tasks"],
    TASKS={"default": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"}},
)
django.setup()

from django_tasks import task  # Django 6: from django.tasks import task

import progresskit


@task
def index(paths):
    for path in progresskit.track(paths, unit="files"):
        path.encode()


if __name__ == "__main__":
    result = index.enqueue(["a", "b"])
    progress = progresskit.get(result.id)
    print(progress.state, progress.current)
