"""Which door leads to the MLflow that the environment names."""

import socket
from typing import Final
from urllib.parse import urlsplit

from registry.environment import Access, Settings, has_proxy, read_access, read_settings
from registry.errors import UnreachableError, UsageError
from registry.store import RegistryStore

from .address import parse_address
from .database import check_database, is_database
from .rest import RestStore

__all__ = ["open_store"]

_PORTS: Final = {"http": 80, "https": 443}


def open_store(settings: Settings | None = None, *, may_create: bool = False) -> RegistryStore:
    """Opens the MLflow that ``MLFLOW_TRACKING_URI`` and ``MLFLOW_REGISTRY_URI`` name.

    http and https go over REST, without importing MLflow; everything else, and what only MLflow's own client
    can do (auth plug-ins, signed requests, workspaces, proxies), through ``MlflowClient``, once somebody has
    opened when knocked at. With REST the first call will tell.

    Args:
        settings: Instead of what the environment says.
        may_create: True where a missing SQLite file is welcome, because something will be written to it. Left
            False, a command that only reads leaves no file behind in a wrong directory.

    Raises:
        UsageError: A URI is none.
        NotFoundError: There is no such SQLite file or database.
        AccessDeniedError: The database does not accept the user or the password.
        StoreError: A driver is missing.
        UnreachableError: The database, or the server of MLflow's client, does not answer.
    """
    settings = settings or read_settings()
    access = read_access()
    uris = {"MLFLOW_TRACKING_URI": settings.tracking_uri, "MLFLOW_REGISTRY_URI": settings.registry_uri}
    for variable, uri in uris.items():
        _check_uri(variable, uri)
    if all(_is_direct(uri, access) for uri in uris.values()):
        return RestStore(
            settings.tracking_uri, settings.registry_uri, access=access, timeout_s=settings.timeout_s
        )
    for variable, uri in uris.items():
        if variable == "MLFLOW_REGISTRY_URI" and uri == settings.tracking_uri:
            continue
        if is_database(uri):
            check_database(uri, settings.timeout_s, variable=variable, may_create=may_create)
        elif parse_address(uri).is_http:
            _knock(uri, settings.timeout_s, variable)
    from .client import ClientStore  # noqa: PLC0415 - imports MLflow

    return ClientStore(settings.tracking_uri, settings.registry_uri, timeout_s=settings.timeout_s)


def _is_direct(uri: str, access: Access) -> bool:
    if not parse_address(uri).is_http or access.needs_library:
        return False
    return not _has_proxy(uri)


def _has_proxy(uri: str) -> bool:
    parts = urlsplit(uri)
    return has_proxy(parts.scheme, parts.hostname or "")


def _knock(uri: str, timeout_s: float, variable: str) -> None:
    """MLflow's client would find out in minutes that nobody is there."""
    if _has_proxy(uri):
        return
    parts = urlsplit(uri)
    try:
        port = parts.port or _PORTS[parts.scheme]
        socket.create_connection((parts.hostname or "", port), timeout_s).close()
    except OSError as error:
        raise UnreachableError(
            f"No answer from MLflow at {parse_address(uri).text} ({error.strerror or error}).",
            hint=f"Is the server running? Check {variable}.",
        ) from error


def _check_uri(variable: str, uri: str) -> None:
    try:
        parts = urlsplit(uri)
        is_fine = parts.scheme not in {"http", "https"} or (bool(parts.hostname) and parts.port != 0)
    except ValueError:
        is_fine = False
    if not is_fine:
        raise UsageError(
            f"{variable} is no address: {uri!r}.", hint="Write, for instance, http://127.0.0.1:5000"
        )
