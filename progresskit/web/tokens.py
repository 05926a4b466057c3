"""
Keys that a page may hold: signed tokens that open some jobs, for one purpose and until some time.

    ~<what it opens, base64url>~<signature, base64url>

What it opens can be read by whoever has it; it cannot be changed or made without the site's secret key.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from progresskit.config import missing_package
from progresskit.errors import ConfigurationError
from progresskit.progress import ID_LENGTH, check_id

if TYPE_CHECKING:
    from itsdangerous import Signer

Right = Literal["watch", "cancel"]
Keys = str | bytes | Sequence[str | bytes] | None

MOST_IDS = 100
"""In one token, and in one request."""

TOKEN_SECONDS = 86_400.0
"""How long a token is good unless told: a day, so that a page left open over night still works."""

# Base64 is read by a decoder that overlooks what is none: only this is a token.
_TOKEN = re.compile(f"~[A-Za-z0-9_-]{{1,{2 * MOST_IDS * ID_LENGTH}}}~[A-Za-z0-9_-]{{43}}")


class Grant(NamedTuple):
    """What a key opens, and until when (seconds since the epoch)."""

    ids: tuple[str, ...]
    right: Right
    expires: float = math.inf

    def allows(self, right: Right) -> bool:
        """Tell whether the right is included; who may cancel may watch."""
        return right in (self.right, "watch")


def make(keys: Keys, ids: str | Iterable[str], right: Right, ttl: float, now: float) -> str:
    """
    Return a token for one id or several that is good for `ttl` seconds from `now`.

    Raises ConfigurationError where there is no key to sign with, and InvalidId or ValueError for what cannot be signed.
    """
    chosen = [check_id(id) for id in ([ids] if isinstance(ids, str) else dict.fromkeys(ids))]
    if not 0 < len(chosen) <= MOST_IDS:
        raise ValueError(f"a token covers 1 to {MOST_IDS} ids, not {len(chosen)}")
    if right not in ("watch", "cancel"):
        raise ValueError(f"rights are 'watch' or 'cancel', not {right!r}")
    if not 0 < ttl < math.inf:
        raise ValueError(f"ttl is a number of seconds over 0, not {ttl!r}")
    signer = _signer(keys)
    if signer is None:
        raise ConfigurationError(
            "tokens are signed with the site's secret key, and there is none: set SECRET_KEY of Django or Flask, or "
            "`secret_key` (configure(secret_key=…), PROGRESSKIT_SECRET_KEY), to a long random string"
        )
    content = json.dumps([right, round(now + ttl, 3), *chosen], separators=(",", ":"))
    packed = urlsafe_b64encode(content.encode()).rstrip(b"=")
    return "~" + signer.sign(packed).decode()


def read(keys: Keys, token: str, now: float) -> Grant | None:
    """Return what the token opens; None if it is malformed, of another site, changed, or too old."""
    signer = _signer(keys)
    if signer is None or _TOKEN.fullmatch(token) is None:
        return None
    from itsdangerous import BadSignature

    try:
        packed = signer.unsign(token[1:])
    except BadSignature:
        return None
    right, expires, *ids = json.loads(urlsafe_b64decode(packed + b"=" * (-len(packed) % 4)))
    return Grant(tuple(ids), right, expires) if now < expires else None


def _signer(keys: Keys) -> Signer | None:
    given = [keys] if isinstance(keys, str | bytes) else keys or ()
    listed = [key.encode() if isinstance(key, str) else key for key in given if key]
    if not listed:
        return None
    from hashlib import sha256

    try:
        from itsdangerous import Signer
    except ImportError as error:
        raise missing_package("signing tokens", error, "django") from error
    # itsdangerous signs with the last of its keys. Its usual separator is a dot, which no key of ours may hold.
    return Signer(listed[::-1], salt="progresskit.web", sep="~", key_derivation="hmac", digest_method=sha256)
