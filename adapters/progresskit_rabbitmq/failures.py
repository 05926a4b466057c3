"""Maps the errors of pika, and of the broker, to the errors of the kit; in this one place."""

from __future__ import annotations

import re

from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from progresskit.errors import BackendError, BackendUnavailable

GUESSES = {
    ProbableAuthenticationError: "the broker refuses the name or the password",
    ProbableAccessDeniedError: "there is no such virtual host, or the user may not use it",
    IncompatibleProtocolError: "the answer is not AMQP 0-9-1",
}
"""The guesses of pika where a connection ends before it is open; they are wrong where it was only lost."""

CLOSED = re.compile(r"ConnectionClosedByBroker: \((\d+)\)")
"""The code with which the broker closed the connection, in the text of pika's guess."""

CODES = {
    402: "the certificate or the licence is refused",
    403: "the user needs the rights to configure, write and read what begins with the prefix",
    530: "there is no such virtual host, or the user may not use it",
    540: "streams are needed: RabbitMQ 3.9 or later, with the feature flag `stream_queue` enabled",
}
"""The codes with which the broker closes a channel or a connection for a reason that does not pass by waiting."""


class Failed(AMQPError):  # type: ignore[misc]
    """A connection failed without an error of pika's; the same may succeed later."""


def failure(error: BaseException, place: str) -> BackendError:
    """Return the error of the kit for an error of pika, or of the network."""
    causes = _causes(error)
    for cause in causes:
        guess = GUESSES.get(type(cause))
        if guess is not None:
            closed = CLOSED.search(str(cause.args))
            if closed is not None and int(closed[1]) in CODES:
                return BackendError(f"{place}: {guess}")
            return BackendUnavailable(f"{place}: the connection was lost while it was opened; maybe {guess}")
        if isinstance(cause, AuthenticationError):
            return BackendError(f"{place}: the broker offers no way to log in that pika has")
        if isinstance(cause, ConnectionClosedByBroker | ChannelClosedByBroker):
            code = 540 if "x-queue-type" in cause.reply_text else cause.reply_code
            if code in CODES:
                return BackendError(f"{place}: {CODES[code]} ({cause.reply_text})")
    return BackendUnavailable(f"{place}: {str(causes[-1]) or type(causes[-1]).__name__}")


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and those inside it: pika wraps the errors of connecting."""
    found, queue = list[BaseException](), [error]
    while queue:
        cause = queue.pop()
        if cause not in found:
            found.append(cause)
            inner = [*getattr(cause, "exceptions", ()), getattr(cause, "exception", None), cause.__cause__, *cause.args]
            queue += [each for each in inner if isinstance(each, BaseException)]
    return found
