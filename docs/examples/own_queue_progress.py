from own_queue import Retry

from progresskit import Cancelled
from progresskit.integrations import Integration, inherit_owner, owner_of


class ProgressMiddleware:
    """Makes every task of a queue a job: `queue.middleware = ProgressMiddleware(queue)`."""

    def __init__(self, queue, kit=None):
        self.queue = queue
        self.integration = Integration(kit, remove=queue.remove)

    def before_send(self, task):
        inherit_owner(task.headers)  # of a task that is sent by another one

    def after_send(self, task):
        self.integration.enqueued(task.id, kind=task.function.__name__, owner=owner_of(task.headers))

    def execute(self, task, call):
        run = self.integration.start(
            task.id,
            kind=task.function.__name__,
            attempt=task.attempt,
            owner=owner_of(task.headers),
            cancellable=True,
        )
        run.enter()
        try:
            run.succeed(call(task))  # after the queue has stored the result
        except Retry:
            run.retry()  # before the queue sends it again
            self.queue.send_again(task)
        except Cancelled:
            run.cancel()  # the queue would not survive a BaseException
        except Exception as error:
            run.fail(error)
        finally:
            run.leave()
