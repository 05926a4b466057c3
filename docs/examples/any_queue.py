from functools import wraps

import progresskit
from progresskit.integrations import Integration

integration = Integration()


def send(function, id, *args, enqueue):
    """Put a call into the queue, and report that it waits."""
    enqueue(function, id, *args)
    integration.enqueued(id, kind=function.__name__)


def job(function):
    """Make a function whose first argument is its id a job."""

    @wraps(function)
    def run(id, *args):
        try:
            with integration.start(id, kind=function.__name__, cancellable=True):
                return function(id, *args)
        except progresskit.Cancelled:
            return None  # the job is cancelled; for the queue the call is done

    return run


@job
def import_rows(id, rows):
    for row in progresskit.track(rows, unit="rows"):  # joins the job
        print(row)
