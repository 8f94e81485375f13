"""The bearer token that callers must show, from a file that may change while the server runs."""

import hmac
import logging
import time
from pathlib import Path
from typing import Final

from registry import UsageError

__all__ = ["Gate"]

LOOK_S: Final = 1.0
"""How long a token is taken for the present one before its file is looked at again."""
PREFIX: Final = b"bearer "

_log = logging.getLogger("greenroom.serving")


class Gate:
    """Lets in who shows the token.

    Args:
        path: File with the token, surrounding white space aside; None: everybody is let in.

    Raises:
        UsageError: The file cannot be read, or is empty.
    """

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._token = _read(self._path) if self._path else b""
        self._looked_s = time.monotonic()

    def admits(self, authorization: bytes | None) -> bool:
        """Whether this ``Authorization`` header opens the gate (RFC 6750, section 2.1).

        How long the comparison takes does not depend on where two tokens differ.
        """
        if self._path is None:
            return True
        if time.monotonic() - self._looked_s > LOOK_S:
            self._look_again(self._path)
        given = authorization or b""
        is_bearer = given[: len(PREFIX)].lower() == PREFIX
        return hmac.compare_digest(given[len(PREFIX) :], self._token) and is_bearer

    def _look_again(self, path: Path) -> None:
        self._looked_s = time.monotonic()
        try:
            self._token = _read(path)
        except UsageError as error:  # in the middle of being replaced, or gone: the last good token stands
            _log.warning("The last token that could be read stands: %s", error)


def _read(path: Path) -> bytes:
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"The token file {path} cannot be read: {error.strerror}.") from error
    if not token:
        raise UsageError(f"The token file {path} is empty.", hint="Write a long random word into it.")
    return token
