"""What a tracking or registry URI says, apart from what it keeps secret."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

__all__ = ["Address", "parse_address"]

_SECRET_KEYS = frozenset({"password", "passwd", "sslpassword", "user"})


@dataclass(frozen=True, slots=True)
class Address:
    """A URI taken apart.

    Attributes:
        scheme: Lower case, with SQLAlchemy's driver (``postgresql+psycopg``).
        text: The URI without user, password and trailing slash: may be shown, and is part of identities.
        username: From ``user:password@``.
        password: From there.
    """

    scheme: str
    text: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_http(self) -> bool:
        """True if the other side speaks MLflow's REST protocol."""
        return self.scheme in {"http", "https"}


def parse_address(uri: str) -> Address:
    """Takes a URI apart; touches nothing.

    >>> parse_address("https://ann:secret@MLflow.example/team/").text
    'https://mlflow.example/team'
    >>> parse_address("postgresql+psycopg://ann:secret@db/mlflow?sslmode=require").text
    'postgresql+psycopg://db/mlflow?sslmode=require'
    >>> parse_address("sqlite:///mlflow.db").text
    'sqlite:///mlflow.db'
    """
    parts = urlsplit(uri.strip())
    if not parts.netloc and "@" not in uri:
        return Address(parts.scheme.lower(), uri.strip())
    userinfo, _, host = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    query = [(key, value) for key, value in parse_qsl(parts.query) if key.lower() not in _SECRET_KEYS]
    scheme = parts.scheme.lower()
    path = parts.path.rstrip("/") if scheme in {"http", "https"} else parts.path
    text = f"{scheme}://{host.lower()}{path}" + (f"?{urlencode(query, safe='/:,')}" if query else "")
    return Address(scheme, text, unquote(username) or None, unquote(password) or None)
