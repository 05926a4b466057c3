from django_tasks import task  # Django 6: from django.tasks import task

import progresskit


@task
def index(paths):
    for path in progresskit.track(paths, unit="files"):  # reports to the job of the task
        print(path)
