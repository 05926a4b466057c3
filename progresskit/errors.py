"""
Every error that progresskit raises, in one tree.

    ProgressKitError (Exception)
    ├── ConfigurationError          a mistake in the configuration; raised at once, names the remedy
    │   ├── UnknownScheme           no backend is known for the URL's scheme
    │   ├── MissingPackage          also an ImportError; names the extra that brings the package
    │   └── Unsupported             the backend lacks that capability (listing, for example)
    ├── InvalidId                   also a ValueError; not a well-formed job id
    ├── InvalidValue                also a ValueError; a bad value; for reports of a job in strict mode only
    ├── BackendError                the backend could not complete a call
    │   └── BackendUnavailable      it cannot be reached or is not able to write now; trying again is right
    ├── FlushTimeout                also a TimeoutError; some reports are not stored yet
    └── PublicError                 raise it in a job: its message is shown to all viewers

    Cancelled (BaseException)       the job was asked to stop

`Cancelled` is not part of the tree, as `asyncio.CancelledError` is no `Exception`: an `except Exception` around
the work on one row must not swallow the wish to stop the whole job.
"""

from __future__ import annotations


class ProgressKitError(Exception):
    """Base of all errors of progresskit, `Cancelled` excepted."""


class ConfigurationError(ProgressKitError):
    """The configuration is wrong; the message names the remedy."""


class UnknownScheme(ConfigurationError):
    """No backend is registered for the scheme of the URL."""


class MissingPackage(ConfigurationError, ImportError):
    """A package that the backend or shim needs is not installed; the message names the extra."""


class Unsupported(ConfigurationError):
    """The configured backend lacks the capability that was asked for."""


class InvalidId(ProgressKitError, ValueError):
    """An id is not 1 to 128 of `A-Z a-z 0-9 _ . : -`, or does not start with a letter or digit."""


class InvalidValue(ProgressKitError, ValueError):
    """
    A value is bad.

    For values that a job reports, in strict mode only: otherwise they are dropped and counted. Always for an `owner`
    who is not signed in, and for an invalid argument of `list` or of an integration.
    """


class BackendError(ProgressKitError):
    """The backend could not complete a call."""


class BackendUnavailable(BackendError):
    """The backend cannot be reached, or cannot write now; the same call may succeed later."""


class FlushTimeout(ProgressKitError, TimeoutError):
    """Some reports were not stored within the given time."""


class PublicError(ProgressKitError):
    """An error whose message is shown to all viewers of the job."""


class Cancelled(BaseException):
    """The job was asked to stop."""
