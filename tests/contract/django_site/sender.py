"""The process of the site that sends tasks: a call per line of JSON, answered by a line."""

from __future__ import annotations

import json
import sys
from typing import Any

import django


class Sender:
    """The functions that the test calls."""

    def __init__(self) -> None:
        from django.conf import settings
        from django_tasks import default_task_backend

        from tests.contract.django_site import tasks

        self.tasks, self.backend = tasks, default_task_backend
        self.is_on_rq = settings.BACKEND.startswith("django_tasks_rq")

    def prepare(self) -> None:
        from django.core.management import call_command

        if not self.is_on_rq:
            call_command("migrate", verbosity=0)

    def send(self, task: str, args: list[Any], owner: str | None) -> Any:
        from progresskit_django_tasks import owned_by

        return getattr(self.tasks, task).enqueue(*args, **(owned_by(owner) if owner else {})).id

    def result(self, id: str) -> Any:
        found: Any = self.backend.get_result(id)
        return found.return_value if found.status == "SUCCESSFUL" else None

    def remaining(self) -> Any:
        if self.is_on_rq:
            import django_rq

            return django_rq.get_queue().count
        from django_tasks_db.models import DBTaskResult

        return DBTaskResult.objects.filter(status="READY").count()


if __name__ == "__main__":
    django.setup()
    sender = Sender()
    sender.prepare()
    print("ready", flush=True)
    for line in sys.stdin:
        name, *args = json.loads(line)
        print(json.dumps(getattr(sender, name)(*args)), flush=True)
