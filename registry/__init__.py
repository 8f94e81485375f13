"""What exists, and what may become what: versions, stages, history, gates.

The front door. Names are resolved when first used (PEP 562), so opening it costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers; a house test holds both lists equal
    from .access import open_ledger as open_ledger
    from .agenda import (
        Agenda as Agenda,
        AgendaState as AgendaState,
        Claim as Claim,
        Occasion as Occasion,
        open_agenda as open_agenda,
    )
    from .artifact import fetch_artifact as fetch_artifact
    from .artifact_root import check_artifact_root as check_artifact_root
    from .caretaking import Caretaker as Caretaker
    from .clock import (
        Clock as Clock,
        FixedClock as FixedClock,
        SystemClock as SystemClock,
        format_time as format_time,
        parse_time as parse_time,
    )
    from .console import (
        Answer as Answer,
        Command as Command,
        announce as announce,
        run_command as run_command,
        say as say,
        steps as steps,
    )
    from .contract import (
        Contract as Contract,
        Finding as Finding,
        TypedChecker as TypedChecker,
        Violation as Violation,
        count_violations as count_violations,
        declare_contract as declare_contract,
        find_bad_rows as find_bad_rows,
        find_violations as find_violations,
        format_contract as format_contract,
        infer_contract as infer_contract,
        parse_contract as parse_contract,
        word_findings as word_findings,
    )
    from .environment import (
        Settings as Settings,
        get_child_environment as get_child_environment,
        get_host as get_host,
        get_user_name as get_user_name,
        keep_variable as keep_variable,
        limit_mlflow as limit_mlflow,
        read_settings as read_settings,
    )
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
    from .evaluation import (
        EvaluationRows as EvaluationRows,
        TaskKind as TaskKind,
        format_evaluation as format_evaluation,
        parse_evaluation as parse_evaluation,
    )
    from .gates.auc import find_influence as find_influence
    from .gates.bootstrap import estimate as estimate
    from .gates.extensions import Gate as Gate
    from .gates.losses import choose_metric as choose_metric, compute_loss as compute_loss
    from .gates.material import Material as Material
    from .gates.units import gather as gather
    from .gates.verdict import GateResult as GateResult
    from .journal import Journal as Journal, Page as Page
    from .ledger.entry import Entry as Entry
    from .ledger.ledger import Actor as Actor, Ledger as Ledger
    from .ledger.state import Holding as Holding, State as State
    from .manifest import Manifest as Manifest, compute_manifest as compute_manifest
    from .moves import adopt as adopt, rollback as rollback
    from .names import (
        PRODUCTION as PRODUCTION,
        STAGES as STAGES,
        STAGING as STAGING,
        Tag as Tag,
        check_model_name as check_model_name,
        check_stage as check_stage,
        parse_model_ref as parse_model_ref,
    )
    from .policy import (
        MetricPolicy as MetricPolicy,
        MonitorPolicy as MonitorPolicy,
        Policy as Policy,
        read_policy as read_policy,
    )
    from .predictions.batch import (
        append_feedback as append_feedback,
        append_predictions as append_predictions,
    )
    from .predictions.parts import PredictionWriter as PredictionWriter
    from .predictions.places import check_log as check_log
    from .predictions.reading import read_predictions as read_predictions
    from .predictions.table import PredictionTable as PredictionTable
    from .promotion import Outcome as Outcome, PromotionRequest as PromotionRequest, promote as promote
    from .reconciliation import reconcile as reconcile
    from .replaying import Replay as Replay, replay as replay
    from .server import (
        Server as Server,
        find_free_port as find_free_port,
        keep_running as keep_running,
        start_server as start_server,
    )
    from .sources import (
        Piece as Piece,
        RowBatch as RowBatch,
        Source as Source,
        SourceFile as SourceFile,
        compute_table_digest as compute_table_digest,
        connect_s3 as connect_s3,
        cut_source as cut_source,
        list_source as list_source,
        parse_source as parse_source,
        read_piece as read_piece,
        read_source as read_source,
        read_table as read_table,
        translating_s3_errors as translating_s3_errors,
    )
    from .store import (
        Experiment as Experiment,
        ModelVersion as ModelVersion,
        RegisteredModel as RegisteredModel,
        RegistryStore as RegistryStore,
        Run as Run,
    )
    from .stores import open_store as open_store
    from .stores.memory import MemoryStore as MemoryStore
    from .stores.translation import translating as translating
    from .triggers import (
        TrainingRequest as TrainingRequest,
        find_training_requests as find_training_requests,
        request_training as request_training,
        take_training_request as take_training_request,
    )
    from .trust import check_trust as check_trust
    from .views import find_holder as find_holder, read_history as read_history, read_status as read_status

_ROOMS = {
    "access": ["open_ledger"],
    "agenda": ["Agenda", "AgendaState", "Claim", "Occasion", "open_agenda"],
    "artifact": ["fetch_artifact"],
    "artifact_root": ["check_artifact_root"],
    "caretaking": ["Caretaker"],
    "clock": ["Clock", "FixedClock", "SystemClock", "format_time", "parse_time"],
    "console": ["Answer", "Command", "announce", "run_command", "say", "steps"],
    "contract": [
        "Contract",
        "Finding",
        "TypedChecker",
        "Violation",
        "count_violations",
        "declare_contract",
        "find_bad_rows",
        "find_violations",
        "format_contract",
        "infer_contract",
        "parse_contract",
        "word_findings",
    ],
    "environment": [
        "Settings",
        "get_child_environment",
        "get_host",
        "get_user_name",
        "keep_variable",
        "limit_mlflow",
        "read_settings",
    ],
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
    "evaluation": ["EvaluationRows", "TaskKind", "format_evaluation", "parse_evaluation"],
    "gates.auc": ["find_influence"],
    "gates.bootstrap": ["estimate"],
    "gates.extensions": ["Gate"],
    "gates.losses": ["choose_metric", "compute_loss"],
    "gates.material": ["Material"],
    "gates.units": ["gather"],
    "gates.verdict": ["GateResult"],
    "journal": ["Journal", "Page"],
    "ledger.entry": ["Entry"],
    "ledger.ledger": ["Actor", "Ledger"],
    "ledger.state": ["Holding", "State"],
    "manifest": ["Manifest", "compute_manifest"],
    "moves": ["adopt", "rollback"],
    "names": ["PRODUCTION", "STAGES", "STAGING", "Tag", "check_model_name", "check_stage", "parse_model_ref"],
    "policy": ["MetricPolicy", "MonitorPolicy", "Policy", "read_policy"],
    "predictions.batch": ["append_feedback", "append_predictions"],
    "predictions.parts": ["PredictionWriter"],
    "predictions.places": ["check_log"],
    "predictions.reading": ["read_predictions"],
    "predictions.table": ["PredictionTable"],
    "promotion": ["Outcome", "PromotionRequest", "promote"],
    "reconciliation": ["reconcile"],
    "replaying": ["Replay", "replay"],
    "server": ["Server", "find_free_port", "keep_running", "start_server"],
    "sources": [
        "Piece",
        "RowBatch",
        "Source",
        "SourceFile",
        "compute_table_digest",
        "connect_s3",
        "cut_source",
        "list_source",
        "parse_source",
        "read_piece",
        "read_source",
        "read_table",
        "translating_s3_errors",
    ],
    "stores.translation": ["translating"],
    "store": ["Experiment", "ModelVersion", "RegisteredModel", "RegistryStore", "Run"],
    "stores": ["open_store"],
    "stores.memory": ["MemoryStore"],
    "triggers": [
        "TrainingRequest",
        "find_training_requests",
        "request_training",
        "take_training_request",
    ],
    "trust": ["check_trust"],
    "views": ["find_holder", "read_history", "read_status"],
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
