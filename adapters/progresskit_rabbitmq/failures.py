"""What pika raises, and what the broker answers, as the kit's errors; in this one place."""

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

GUESSES: dict[type[Exception], tuple[str, str]] = {
    ProbableAuthenticationError: (
        "the connection was lost while the name and the password were sent",
        "the broker refuses the name or the password",
    ),
    ProbableAccessDeniedError: (
        "the connection was lost while the virtual host was opened",
        "there is no such virtual host, or the user may not use it",
    ),
    IncompatibleProtocolError: (
        "the connection was lost at its very start, or what answers there does not speak AMQP",
        "what answers there does not speak AMQP 0-9-1",
    ),
}
"""What pika takes for the reason when a connection ends before it is open: if it was lost, and if it was closed."""

CLOSED = re.compile(r"ConnectionClosedByBroker: \((\d+)\)")
"""In pika's guess, what it makes of the code with which the broker closed the connection."""

CODES = {
    402: "the certificate or the licence is refused",
    403: "the user needs the rights to configure, write and read what begins with the prefix",
    530: "there is no such virtual host, or the user may not use it",
    540: "streams are needed: RabbitMQ 3.9 or later, with the feature flag `stream_queue` enabled",
}
"""With these the broker closes a channel or a connection for what does not pass by waiting."""


class Failed(AMQPError):  # type: ignore[misc]
    """What went wrong on a connection without an error of pika's; the same may succeed later."""


def failure(error: BaseException, place: str) -> BackendError:
    """Return the error of the kit that an error of pika's, or of the network, means."""
    for cause in _causes(error):
        for kind, (lost, refused) in GUESSES.items():
            if isinstance(cause, kind):
                final = _is_refusal(cause)
                return BackendError(f"{place}: {refused}") if final else BackendUnavailable(f"{place}: {lost}")
        if isinstance(cause, AuthenticationError):
            return BackendError(f"{place}: the broker offers no way to log in that we have")
        if isinstance(cause, ConnectionClosedByBroker | ChannelClosedByBroker):
            code = 540 if "x-queue-type" in cause.reply_text else cause.reply_code
            if code in CODES:
                return BackendError(f"{place}: {CODES[code]} ({cause.reply_text})")
    return BackendUnavailable(f"{place}: {_text(error)}")


def _is_refusal(guess: Exception) -> bool:
    """Tell whether the broker has closed the connection for a reason that does not pass by waiting."""
    code = CLOSED.search(str(guess.args))
    return code is not None and int(code[1]) in CODES


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and those inside it: pika wraps what went wrong while it connected."""
    found, queue = list[BaseException](), [error]
    while queue:
        cause = queue.pop()
        if cause not in found:
            found.append(cause)
            inner = [*getattr(cause, "exceptions", ()), getattr(cause, "exception", None), cause.__cause__, *cause.args]
            queue += [each for each in inner if isinstance(each, BaseException)]
    return found


def _text(error: BaseException) -> str:
    last = _causes(error)[-1]
    if isinstance(last, ConnectionClosedByBroker | ChannelClosedByBroker):
        return f"{last.reply_code} {last.reply_text}"
    return str(last) or type(last).__name__
