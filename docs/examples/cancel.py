from time import sleep

import progresskit


def count_rows(id, rows):
    """Stops by itself: `track`, `advance` and `set_progress` raise Cancelled in a cancellable job."""
    for row in progresskit.track(rows, id=id, cancellable=True):
        sleep(0.01)


def convert(id, steps):
    """Stops where it is safe to: a job that is not cancellable looks for itself."""
    with progresskit.observe(id, total=len(steps)) as observer:
        for step in steps:
            step()
            observer.advance()
            observer.check_cancelled()


def convert_halfway(id, steps):
    """Is asked to stop, and stops early with a result."""
    done = []
    with progresskit.observe(id, total=len(steps)) as observer:
        for step in steps:
            if observer.cancel_requested:
                break
            done.append(step())
            observer.advance()
        observer.succeed({"steps": len(done)})
    return done
