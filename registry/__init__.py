"""What exists, and what may become what: versions, stages, history, gates.

The front door. Names are resolved when first used (PEP 562), so opening it costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers; a house test holds both lists equal
    from .clock import Clock, FixedClock, SystemClock, format_time, parse_time
    from .console import Answer, Command, run_command, say
    from .environment import Settings, read_settings
    from .errors import (
        AccessDeniedError,
        AlreadyExistsError,
        ArtifactError,
        ConflictError,
        DataError,
        GreenroomError,
        NotFoundError,
        OrderError,
        RefusedError,
        StoreError,
        TamperedError,
        UnreachableError,
        UntrustedError,
        UsageError,
    )
    from .names import PRODUCTION, STAGES, STAGING, Tag, check_model_name, check_stage, parse_model_ref
    from .store import Experiment, ModelVersion, RegisteredModel, RegistryStore, Run

_ROOMS = {
    "clock": ["Clock", "FixedClock", "SystemClock", "format_time", "parse_time"],
    "console": ["Answer", "Command", "run_command", "say"],
    "environment": ["Settings", "read_settings"],
    "errors": [
        "AccessDeniedError",
        "AlreadyExistsError",
        "ArtifactError",
        "ConflictError",
        "DataError",
        "GreenroomError",
        "NotFoundError",
        "OrderError",
        "RefusedError",
        "StoreError",
        "TamperedError",
        "UnreachableError",
        "UntrustedError",
        "UsageError",
    ],
    "names": ["PRODUCTION", "STAGES", "STAGING", "Tag", "check_model_name", "check_stage", "parse_model_ref"],
    "store": ["Experiment", "ModelVersion", "RegisteredModel", "RegistryStore", "Run"],
}
_HOMES = {name: module for module, names in _ROOMS.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list, kept in one place


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'registry' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
