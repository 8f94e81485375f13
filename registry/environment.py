"""The environment's door: every environment variable that Greenroom reads, in one place."""

import configparser
import getpass
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .errors import UsageError

__all__ = [
    "Access",
    "ServerSettings",
    "Settings",
    "get_child_environment",
    "get_host",
    "get_user_name",
    "has_proxy",
    "keep_variable",
    "limit_mlflow",
    "read_access",
    "read_server_settings",
    "read_settings",
]

DEFAULT_TRACKING_URI: Final = "sqlite:///mlflow.db"
"""MLflow's own default since 3.7: an SQLite file in the working directory."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        tracking_uri: ``MLFLOW_TRACKING_URI``.
        registry_uri: ``MLFLOW_REGISTRY_URI``; the tracking URI where unset.
        ledger_experiment: ``GREENROOM_LEDGER_EXPERIMENT``, a template with ``{model}``.
        timeout_s: ``GREENROOM_TIMEOUT_S``: how long one call to MLflow may take.
        actor: ``GREENROOM_ACTOR``: who acts, where the machine's user says too little (CI).
        run_id: ``MLFLOW_RUN_ID``: the run that ``mlflow run`` started for this process.
        s3_endpoint_url: ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` or ``MLFLOW_S3_ENDPOINT_URL``.
        cache_dir: ``GREENROOM_CACHE_DIR``: artifacts kept for a restart; ``$XDG_CACHE_HOME/greenroom`` or
            ``~/.cache/greenroom`` where unset (XDG Base Directory Specification).
        refuses_rows: False with ``GREENROOM_CONTRACT=off``: no row is refused for breaking a contract.
        refuses_strangers: False with ``GREENROOM_GUARD=off``: no row is answered *nothing found*.
    """

    tracking_uri: str = DEFAULT_TRACKING_URI
    registry_uri: str = DEFAULT_TRACKING_URI
    ledger_experiment: str = "greenroom/{model}"
    timeout_s: float = 10.0
    actor: str | None = None
    run_id: str | None = None
    s3_endpoint_url: str | None = None
    cache_dir: str = "~/.cache/greenroom"
    refuses_rows: bool = True
    refuses_strangers: bool = True


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings; an empty variable counts as unset."""
    variables = {key: value for key, value in (os.environ if environ is None else environ).items() if value}
    tracking_uri = variables.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)
    return Settings(
        tracking_uri=tracking_uri,
        registry_uri=variables.get("MLFLOW_REGISTRY_URI", tracking_uri),
        ledger_experiment=_read_template(variables.get("GREENROOM_LEDGER_EXPERIMENT", "greenroom/{model}")),
        timeout_s=_read_seconds("GREENROOM_TIMEOUT_S", variables.get("GREENROOM_TIMEOUT_S", "10")),
        actor=variables.get("GREENROOM_ACTOR"),
        run_id=variables.get("MLFLOW_RUN_ID"),
        s3_endpoint_url=variables.get("AWS_ENDPOINT_URL_S3")
        or variables.get("AWS_ENDPOINT_URL")
        or variables.get("MLFLOW_S3_ENDPOINT_URL"),
        cache_dir=variables.get(
            "GREENROOM_CACHE_DIR", f"{variables.get('XDG_CACHE_HOME', '~/.cache')}/greenroom"
        ),
        refuses_rows=variables.get("GREENROOM_CONTRACT") != "off",
        refuses_strangers=variables.get("GREENROOM_GUARD") != "off",
    )


def _read_template(text: str) -> str:
    """Two models may not share one history."""
    if "{model}" not in text or text.replace("{model}", "").strip("{}") != text.replace("{model}", ""):
        raise UsageError(f"GREENROOM_LEDGER_EXPERIMENT={text} does not say where {{model}} goes.")
    return text


def _read_seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{name}={text} is no number of seconds.")
    return seconds


def get_user_name() -> str:
    """The machine's user, or ``unknown`` in a container without one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def get_host() -> str:
    """This machine's host name."""
    return socket.gethostname()


def get_child_environment(
    defaults: Mapping[str, str], *, without: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a program we start: ours, with defaults for what the user left unset.

    Args:
        defaults: Used where the user's environment has no value; an empty variable counts as unset.
        without: Names that the child must not inherit.
        environ: Ours, if not ``os.environ``.
    """
    inherited = {key: value for key, value in (os.environ if environ is None else environ).items() if value}
    return {key: value for key, value in {**defaults, **inherited}.items() if key not in without}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What stock ``mlflow server`` would take from the environment.

    Attributes:
        backend_store_uri: ``MLFLOW_BACKEND_STORE_URI``.
        artifacts: ``MLFLOW_ARTIFACTS_DESTINATION``.
        s3_endpoint_url: ``MLFLOW_S3_ENDPOINT_URL``; boto3 looks for ``AWS_ENDPOINT_URL`` itself.
    """

    backend_store_uri: str = DEFAULT_TRACKING_URI
    artifacts: str = "mlartifacts"
    s3_endpoint_url: str | None = None


def read_server_settings(environ: Mapping[str, str] | None = None) -> ServerSettings:
    """Reads a server's settings; an empty variable counts as unset."""
    variables = {key: value for key, value in (os.environ if environ is None else environ).items() if value}
    return ServerSettings(
        backend_store_uri=variables.get("MLFLOW_BACKEND_STORE_URI", DEFAULT_TRACKING_URI),
        artifacts=variables.get("MLFLOW_ARTIFACTS_DESTINATION", "mlartifacts"),
        s3_endpoint_url=variables.get("MLFLOW_S3_ENDPOINT_URL"),
    )


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into an MLflow server over http: MLflow's own variables.

    Attributes:
        username: ``MLFLOW_TRACKING_USERNAME``, or from ``~/.mlflow/credentials``.
        password: ``MLFLOW_TRACKING_PASSWORD``, or from there too.
        token: ``MLFLOW_TRACKING_TOKEN``.
        is_tls_checked: False with ``MLFLOW_TRACKING_INSECURE_TLS=true``.
        server_cert_file: ``MLFLOW_TRACKING_SERVER_CERT_PATH``: certificate authorities to trust.
        client_cert_file: ``MLFLOW_TRACKING_CLIENT_CERT_PATH``: certificate and key, one file.
        needs_library: Variables set that only MLflow's own client can honour.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    is_tls_checked: bool = True
    server_cert_file: str | None = None
    client_cert_file: str | None = None
    needs_library: tuple[str, ...] = ()


_LIBRARY_ONLY: Final = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_WORKSPACE")


def read_access(environ: Mapping[str, str] | None = None) -> Access:
    """Reads how to get in; an empty variable counts as unset.

    Source: https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/ (variables and file).
    """
    variables = {key: value for key, value in (os.environ if environ is None else environ).items() if value}
    username, password = _read_credentials_file(variables.get("HOME"))
    return Access(
        username=variables.get("MLFLOW_TRACKING_USERNAME", username),
        password=variables.get("MLFLOW_TRACKING_PASSWORD", password),
        token=variables.get("MLFLOW_TRACKING_TOKEN"),
        is_tls_checked=variables.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() not in {"true", "1"},
        server_cert_file=variables.get("MLFLOW_TRACKING_SERVER_CERT_PATH"),
        client_cert_file=variables.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
        needs_library=tuple(name for name in _LIBRARY_ONLY if variables.get(name, "false") != "false"),
    )


def _read_credentials_file(home: str | None) -> tuple[str | None, str | None]:
    if not home:
        return None, None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(Path(home) / ".mlflow" / "credentials", encoding="utf-8")
    except (OSError, configparser.Error):
        return None, None
    if not parser.has_section("mlflow"):
        return None, None
    section = parser["mlflow"]
    return section.get("mlflow_tracking_username"), section.get("mlflow_tracking_password")


def has_proxy(scheme: str, host: str) -> bool:
    """True if ``HTTPS_PROXY`` and its like lead to this host through a proxy; never for this machine."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - only where http is spoken

    if host in {"localhost", "::1"} or host.startswith("127."):
        return False
    proxies = getproxies()
    return (scheme in proxies or "all" in proxies) and not proxy_bypass(host)


_UPLOAD_TIMEOUT_S: Final = 30
"""MLflow has one timeout for all: also for the moment in which a server moves a whole file on to S3."""


def limit_mlflow(timeout_s: float) -> None:
    """Bounds MLflow's own client, unless the user did: by default it retries a dead server for minutes."""
    set_defaults(
        {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(_UPLOAD_TIMEOUT_S, round(timeout_s))),
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        }
    )


def set_defaults(defaults: Mapping[str, str]) -> None:
    """Sets variables of this process that the user left unset: how libraries that read them are told."""
    for key, value in defaults.items():
        if not os.environ.get(key):
            os.environ[key] = value


@contextmanager
def keep_variable(name: str) -> Iterator[None]:
    """Gives a variable of this process its value back after a library inside the block wrote to it."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
