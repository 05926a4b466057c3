from functools import wraps

import progresskit
from progresskit.kit import default


def send(function, id, *args, enqueue):
    """Put a call into the queue, and let its page know that it waits."""
    enqueue(function, id, *args)
    default().tell(id, progresskit.State.PENDING, kind=function.__name__)


def job(function):
    """Make a function whose first argument is its id a job."""

    @wraps(function)
    def run(id, *args):
        try:
            with progresskit.observe(id, kind=function.__name__, cancellable=True):
                return function(id, *args)
        except progresskit.Cancelled:
            return None  # told already; to the queue the call is done

    return run


@job
def import_rows(id, rows):
    for row in progresskit.track(rows, unit="rows"):  # joins the job
        print(row)
