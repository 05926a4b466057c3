import progresskit


class BadRow(progresskit.PublicError):
    """A browser may read this message."""


def import_rows(rows, id):
    """Import the rows; return how many."""
    with progresskit.observe(id, total=len(rows), description="Importing", unit="rows", cancellable=True) as observer:
        for number, row in enumerate(rows, 1):
            if not row:
                raise BadRow(f"row {number} is empty")
            observer.advance()
    return len(rows)
