"""
Signed tokens: each gives access to some jobs, with one right and until some time.

    ~<grant, base64url>~<signature, base64url>

The grant can be read by the holder of the token; it cannot be changed or made without the site's secret key. The same
holds for the name of a run, which a program gets that reports over HTTP; of that, neither passes for the other.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from progresskit import validation
from progresskit.errors import ConfigurationError, MissingPackage
from progresskit.progress import ID_LENGTH, check_id, format_time, parse_time
from progresskit.registry import missing_package
from progresskit.remote_runs import RemoteRun

if TYPE_CHECKING:
    from itsdangerous import Signer

    from progresskit.progress import JobId

Right = Literal["watch", "cancel", "report"]
RIGHTS: tuple[Right, ...] = get_args(Right)
Keys = str | bytes | Sequence[str | bytes] | None

MAX_IDS = 100
"""In one token, and in one request."""

TOKEN_SECONDS = 86_400.0
"""Default lifetime of a token: a day, so that a page left open over night still works."""

NO_KEY = (
    "tokens are signed with the site's secret key, and there is none: set SECRET_KEY of Django or Flask, or "
    "`secret_key` (configure(secret_key=…), PROGRESSKIT_SECRET_KEY), to a long random string"
)

_SHORT = 512
"""Tokens up to this length, which most are, are read once and kept."""

# The decoder of base64 ignores foreign characters, and spare bits of a signature's last letter: this pattern refuses
# both, so that each token has one spelling.
_SIGNATURE = "~[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
_TOKEN = re.compile(f"~[A-Za-z0-9_-]{{1,{2 * MAX_IDS * ID_LENGTH}}}{_SIGNATURE}")
_RUN = re.compile(f"[A-Za-z0-9_-]{{1,{_SHORT}}}{_SIGNATURE}")


class Grant(NamedTuple):
    """The content of a token: its jobs and right, its expiry (seconds since the epoch), and its user, if any."""

    ids: tuple[str, ...]
    right: Right
    expires: float = math.inf
    user: str | None = None

    def allows(self, right: Right) -> bool:
        """Return whether the right is included: those to cancel and to report include watching, and not each other."""
        return right in (self.right, "watch")


def make(keys: Keys, ids: JobId | Iterable[JobId], right: Right, ttl: float, now: float, user: Any = None) -> str:
    """
    Return a token for one id or several, valid for `ttl` seconds from `now`, for that user alone if one is given.

    Raises ConfigurationError without a key to sign with, and InvalidId or ValueError for invalid arguments.
    """
    given = ids if isinstance(ids, Iterable) and not isinstance(ids, str | bytes) else [ids]
    chosen = [*dict.fromkeys(check_id(id) for id in given)]
    if not 0 < len(chosen) <= MAX_IDS:
        raise ValueError(f"a token covers 1 to {MAX_IDS} ids, not {len(chosen)}")
    if right not in RIGHTS:
        raise ValueError(f"right must be 'watch', 'cancel' or 'report', not {right!r}")
    if right == "report" and len(chosen) > 1:
        raise ValueError(f"a token to report covers one id, not {len(chosen)}")
    if not 0 < ttl < math.inf:
        raise ValueError(f"ttl must be a positive number of seconds, not {ttl!r}")
    signer = _signer(_chosen(keys))
    if signer is None:
        raise ConfigurationError(NO_KEY)
    bound = [] if user is None else [{"user": _name_of(user)}]
    return "~" + _signed(signer, [right, round(now + ttl, 3), *chosen, *bound])


def make_run(keys: Keys, run: RemoteRun) -> str:
    """Return the name of a run, with which its reports prove that they are of it; needs a key to sign with."""
    signer = _run_signer(keys)
    assert signer is not None, "a token was read with it"
    return _signed(signer, [*run[:3], format_time(run.started_at), *run[4:]])


def read_run(keys: Keys, name: str, id: str) -> RemoteRun | None:
    """Return the run of a name; None if it is malformed, changed, of another site, or of another job."""
    signer = _run_signer(keys)
    if signer is None or _RUN.fullmatch(name) is None:
        return None
    try:
        of, token, number, started_at, *more = _unsigned(signer, name)
    except _Bad:
        return None
    began = parse_time(started_at)
    return None if of != id or began is None else RemoteRun(id, token, number, began, *more)


def can_sign(keys: Keys) -> bool:
    """Return True where there is a key to sign with."""
    return bool(_chosen(keys))


def read(keys: Keys, token: str, now: float) -> Grant | None:
    """Return the grant of a token; None if it is malformed, of another site, changed, or expired."""
    chosen = _chosen(keys)
    try:
        grant = _opened_before(chosen, token) if len(token) <= _SHORT else _opened(chosen, token)
    except _Bad:
        return None
    return grant if now < grant.expires else None


def _name_of(user: Any) -> str:
    try:
        return validation.user(user)
    except ValueError as problem:
        raise ValueError(f"user {problem}") from None


class _Bad(Exception):
    """A token that is not ours; raised, because `lru_cache` keeps no exceptions: only valid tokens take memory."""


def _opened(keys: tuple[bytes, ...], token: str) -> Grant:
    signer = _signer(keys)
    if signer is None or _TOKEN.fullmatch(token) is None:
        raise _Bad
    right, expires, *ids = _unsigned(signer, token[1:])
    bound = ids.pop()["user"] if isinstance(ids[-1], dict) else None
    return Grant(tuple(ids), right, expires, bound)


def _signed(signer: Signer, content: list[Any]) -> str:
    text = json.dumps(content, separators=(",", ":"))
    signed: bytes = signer.sign(urlsafe_b64encode(text.encode()).rstrip(b"="))
    return signed.decode()


def _unsigned(signer: Signer, text: str) -> list[Any]:
    from itsdangerous import BadSignature

    try:
        packed = signer.unsign(text)
    except BadSignature as error:
        raise _Bad from error
    content: list[Any] = json.loads(urlsafe_b64decode(packed + b"=" * (-len(packed) % 4)))
    return content


_opened_before = lru_cache(1_000)(_opened)


def _chosen(keys: Keys) -> tuple[bytes, ...]:
    given = (keys,) if isinstance(keys, str | bytes) else tuple(keys or ())
    return _encoded(given)


@lru_cache(16)
def _encoded(keys: tuple[str | bytes, ...]) -> tuple[bytes, ...]:
    return tuple([key.encode() if isinstance(key, str) else key for key in keys if key])


def _run_signer(keys: Keys) -> Signer | None:
    return _signer(_chosen(keys), "progresskit.web.run")


def _signer(keys: tuple[bytes, ...], salt: str = "progresskit.web") -> Signer | None:
    if not keys:
        return None
    from hashlib import sha256

    try:
        from itsdangerous import Signer
    except ImportError as error:
        missing = missing_package("signing tokens", error, "asgi")
        raise MissingPackage(f"{missing}; the extras django and flask bring it too") from error
    # itsdangerous signs with the last of its keys. Its usual separator is a dot, which no key of ours may hold.
    return Signer(keys[::-1], salt=salt, sep="~", key_derivation="hmac", digest_method=sha256)
