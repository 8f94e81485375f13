"""The environment's door: every environment variable that Greenroom reads, in one place."""

import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Settings", "get_child_environment", "get_host", "get_user_name", "read_settings"]

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
    """

    tracking_uri: str = DEFAULT_TRACKING_URI
    registry_uri: str = DEFAULT_TRACKING_URI
    ledger_experiment: str = "greenroom/{model}"
    timeout_s: float = 10.0
    actor: str | None = None


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings; an empty variable counts as unset."""
    variables = {key: value for key, value in (os.environ if environ is None else environ).items() if value}
    tracking_uri = variables.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)
    return Settings(
        tracking_uri=tracking_uri,
        registry_uri=variables.get("MLFLOW_REGISTRY_URI", tracking_uri),
        ledger_experiment=variables.get("GREENROOM_LEDGER_EXPERIMENT", "greenroom/{model}"),
        timeout_s=float(variables.get("GREENROOM_TIMEOUT_S", "10")),
        actor=variables.get("GREENROOM_ACTOR"),
    )


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
