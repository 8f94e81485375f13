"""The names that Greenroom puts on the street: stages, tags, experiments, and what a model may be called."""

import re
from typing import Final

from .errors import UsageError

__all__ = [
    "PRODUCTION",
    "STAGES",
    "STAGING",
    "Tag",
    "check_model_name",
    "check_stage",
    "parse_model_ref",
]

STAGING: Final = "staging"
PRODUCTION: Final = "production"
STAGES: Final = (STAGING, PRODUCTION)

MAX_NAME_LENGTH: Final = 255
"""MLflow's own limit for a registered model's name (column ``registered_models.name``)."""


class Tag:
    """Tags that Greenroom writes in MLflow. Others may read them; only Greenroom writes them."""

    LEDGER: Final = "greenroom.ledger"
    """On the registered model and the ledger experiment: run id of the ledger's first chapter."""
    LEDGER_SERVER: Final = "greenroom.ledger_server"
    """On the registered model: the tracking server that keeps its ledger."""
    HEAD: Final = "greenroom.head"
    """On the registered model and versions, a witness: seq and hash of the newest entry then."""
    PROJECTED: Final = "greenroom.projected"
    """On the registered model: aliases and tags were made equal to history up to this seq."""
    STAGE: Final = "greenroom.stage"
    """On a version: candidate, staging, production, archived or rejected."""
    MANIFEST: Final = "greenroom.manifest"
    """On a version: sha256 over its artifact's files."""
    HEAD_RUN: Final = "greenroom.head_run"
    """On the registered model and the ledger experiment, a hint only: the newest chapter's run id."""
    KIND: Final = "greenroom.kind"
    """On a run: ``ledger``, ``evidence``, ``scoring``, ``training`` or ``journal``."""
    DATA_SHA256: Final = "greenroom.data_sha256"
    """On a training run: sha256 of the whole data set."""
    EVIDENCE: Final = "greenroom.evidence"
    """On a version: run id of the evidence of the newest decision about it."""
    EVALUATION: Final = "greenroom.evaluation"
    """On a training run: JSON of what its evaluation rows are (see ``registry.evaluation``)."""
    JOURNAL: Final = "greenroom.journal"
    """On the experiment of a model's training journal: run id of its first page."""
    JOURNAL_HEAD: Final = "greenroom.journal_head"
    """On the same experiment, a hint only: run id of its newest page."""
    IMPORT: Final = "greenroom.import"
    """On an imported version, its logged model and runs: a digest of which version it was elsewhere."""
    IMPORT_RECORD: Final = "greenroom.import_record"
    """On an imported version and the import's experiment: run id of the record of the import."""
    SOURCE_RUN: Final = "greenroom.source_run"
    """On an imported run: its id where it came from."""
    TRAINING_REQUEST: Final = "greenroom.training_request"
    """On a run (a monitor's): JSON of which model shall be trained, why, and when that was asked."""


def check_model_name(name: str) -> str:
    """Returns the name if MLflow would keep exactly this one, else raises.

    MLflow accepts names with a trailing newline and such that no URL can hold; these are refused here.

    Raises:
        UsageError: Empty, too long, surrounding blanks, control characters, ``/`` ``:`` or ``@``.

    >>> check_model_name("flight-delay")
    'flight-delay'
    """
    if (
        not name
        or len(name) > MAX_NAME_LENGTH
        or not re.fullmatch(r"[^\x00-\x1f\x7f/:@\s]([^\x00-\x1f\x7f/:@]*[^\x00-\x1f\x7f/:@\s])?", name)
    ):
        raise UsageError(
            f"{name!r} cannot be a model's name.",
            hint="Use 1 to 255 characters without '/', ':', '@', line breaks or blanks at either end.",
        )
    return name


def check_stage(stage: str) -> str:
    """Returns ``staging`` or ``production``, or raises.

    Raises:
        UsageError: Anything else.
    """
    if stage not in STAGES:
        raise UsageError(f"{stage!r} is not a stage.", hint="Stages are staging and production.")
    return stage


def parse_model_ref(ref: str, *, default_stage: str | None = None) -> tuple[str, str | None]:
    """Splits ``NAME`` or ``NAME@STAGE``.

    Raises:
        UsageError: The name or the stage is not one.

    >>> parse_model_ref("flight-delay@staging")
    ('flight-delay', 'staging')
    >>> parse_model_ref("flight-delay", default_stage="production")
    ('flight-delay', 'production')
    """
    name, _, stage = ref.partition("@")
    return check_model_name(name), check_stage(stage) if stage else default_stage
