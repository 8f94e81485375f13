"""What exists, and what may become what: versions, stages, history, gates.

The front door. Names are resolved when first used (PEP 562), so opening it costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers; a house test holds both lists equal
    from .clock import (
        Clock as Clock,
        FixedClock as FixedClock,
        SystemClock as SystemClock,
        format_time as format_time,
        parse_time as parse_time,
    )
    from .console import Answer as Answer, Command as Command, run_command as run_command, say as say
    from .environment import Settings as Settings, read_settings as read_settings
    from .errors import (
        AccessDeniedError as AccessDeniedError,
        AlreadyExistsError as AlreadyExistsError,
        ArtifactError as ArtifactError,
        ConflictError as ConflictError,
        DataError as DataError,
        GreenroomError as GreenroomError,
        NotFoundError as NotFoundError,
        OrderError as OrderError,
        RefusedError as RefusedError,
        StoreError as StoreError,
        TamperedError as TamperedError,
        UnreachableError as UnreachableError,
        UntrustedError as UntrustedError,
        UsageError as UsageError,
    )
    from .names import (
        PRODUCTION as PRODUCTION,
        STAGES as STAGES,
        STAGING as STAGING,
        Tag as Tag,
        check_model_name as check_model_name,
        check_stage as check_stage,
        parse_model_ref as parse_model_ref,
    )
    from .store import (
        Experiment as Experiment,
        ModelVersion as ModelVersion,
        RegisteredModel as RegisteredModel,
        RegistryStore as RegistryStore,
        Run as Run,
    )

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
