"""Logs a repeated problem once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

_logged = set[tuple[str, type[Exception]]]()


def warn_once(logger: Logger, message: str, problem: Exception) -> None:
    """
    Log a problem, but only the first of its type.

    The texts of the others may name other tasks or addresses, and there is no end to those. `message` has a `%s` for
    the name of the type and one for the text.
    """
    kind = type(problem)
    if (message, kind) not in _logged:
        _logged.add((message, kind))
        logger.warning(message, kind.__name__, problem)
