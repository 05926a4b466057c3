from dataclasses import dataclass, field
from queue import SimpleQueue
from uuid import uuid4


class Retry(Exception):
    """Raised by a task that is to be executed again."""


@dataclass
class Task:
    function: object
    args: tuple
    headers: dict
    id: str = field(default_factory=lambda: uuid4().hex)
    attempt: int = 1


class Queue:
    """Executes functions later; whatever the middleware does happens around that."""

    def __init__(self):
        self.tasks, self.removed, self.results = SimpleQueue(), set(), {}
        self.middleware = None

    def send(self, function, *args, headers=()):
        task = Task(function, args, dict(headers))
        self.middleware.before_send(task)
        self.tasks.put(task)
        self.middleware.after_send(task)
        return task.id

    def remove(self, ids):
        self.removed.update(ids)

    def work(self):
        while not self.tasks.empty():
            task = self.tasks.get()
            if task.id not in self.removed:
                self.middleware.execute(task, self.execute)

    def execute(self, task):
        self.results[task.id] = task.function(*task.args)
        return self.results[task.id]

    def send_again(self, task):
        task.attempt += 1
        self.tasks.put(task)
