"""The documents in a bundle: the index, which names everything else, and what is written of a run."""

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.errors import DataError, TamperedError
from registry.ledger.entry import digest

from .container import Member

__all__ = [
    "ARTIFACT",
    "RUNS",
    "Index",
    "Origin",
    "RunRecord",
    "format_document",
    "parse_index",
    "parse_run_record",
]

ARTIFACT: Final = "artifact"
"""Folder of the version's files, byte for byte as they were logged."""
RUNS: Final = "runs"
"""Folder of runs: ``runs/<run id>/run.json`` and ``runs/<run id>/files/…``."""
SCHEMA: Final = "greenroom/bundle/1"

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""It becomes a folder's name."""
_Line = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""It is shown, and becomes part of an entry."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Origin(_Document):
    """Where the version was.

    Attributes:
        server: The tracking server, without credentials and paths.
        model: Its name there.
        version: Its number there.
        created_ms: When it was made there, milliseconds since the epoch, UTC.
        run_id: The run that trained it, there.
        ledger: Its history's identity; empty if it had none.
        seq: That history's newest entry.
        hash: That entry's hash.
    """

    server: _Line
    model: _Line
    version: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
    created_ms: int
    run_id: _RunId | None = None
    ledger: _RunId | Literal[""] = ""
    seq: Annotated[int, Field(ge=0)] = 0
    hash: _Sha256 | Literal[""] = ""


class File(_Document):
    """A file of the bundle."""

    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: _Sha256


class Index(_Document):
    """What a bundle holds.

    Attributes:
        kind: Name and number of the format.
        made_by: The Greenroom that wrote it.
        origin: Where the version was.
        stage: The stage it had there, if any.
        manifest: sha256 over its files (see ``registry.manifest``).
        description: What people wrote about the version.
        model_description: What people wrote about the model.
        tags: The version's own tags.
        parts: What is where: environment lock, contract, guard and others → path in the bundle.
        policies: sha256 of a policy that decided about it → the bundle's file whose ``policy`` holds it.
        training_run: The run that trained it, if it travels.
        evidence_runs: The runs that decisions about it rested on, as far as there are any.
        paths: Absolute paths in files that must not be changed, ``file: path``; only with ``--keep-paths``.
        notes: Sentences about what could not be taken along.
        files: Every other file of the bundle, in order.
    """

    kind: Literal["greenroom/bundle/1"] = Field(default=SCHEMA, alias="schema")
    made_by: str
    origin: Origin
    stage: str | None = None
    manifest: _Sha256
    description: str = ""
    model_description: str = ""
    tags: dict[str, str] = {}
    parts: dict[str, str] = {}
    policies: dict[str, str] = {}
    training_run: _RunId | None = None
    evidence_runs: tuple[_RunId, ...] = ()
    paths: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[File, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        """The files as the container knows them."""
        return tuple(Member(file.path, file.size, file.sha256) for file in self.files)

    @property
    def runs(self) -> tuple[str, ...]:
        """Every run that travels, each once."""
        return tuple(
            dict.fromkeys([*([self.training_run] if self.training_run else []), *self.evidence_runs])
        )

    def identify(self) -> str:
        """A digest of which version this is: the same however often it is exported.

        A version without a history is known by its server and name instead of its history.
        """
        origin = self.origin
        home = origin.ledger or f"{origin.server} {origin.model}"
        return digest(
            {
                "home": home,
                "version": origin.version,
                "created_ms": origin.created_ms,
                "manifest": self.manifest,
            }
        )


class RunRecord(_Document):
    """A run, without its files: metrics have their latest values. Times in milliseconds, UTC."""

    run_id: _RunId
    name: str = ""
    status: str = "FINISHED"
    start_ms: int = 0
    end_ms: int | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}


def format_document(document: _Document) -> bytes:
    """The one text of a document."""
    content = document.model_dump(mode="json", by_alias=True)
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode("ascii")


def parse_index(text: bytes) -> Index:
    """Reads an index.

    Raises:
        DataError: It is of a newer Greenroom.
        TamperedError: It is none.
    """
    document = _load(text, "index")
    if document.get("schema") != SCHEMA:
        raise DataError(
            f"The bundle is of a kind that this Greenroom does not know ({document.get('schema')!r}).",
            hint=f"It reads {SCHEMA}. Was it made by a newer one?",
        )
    try:
        return Index.model_validate(document)
    except ValidationError as error:
        raise TamperedError(f"The bundle's index cannot be read: {_word(error)}.") from error


def parse_run_record(text: bytes) -> RunRecord:
    """Reads a ``run.json``.

    Raises:
        TamperedError: It is none.
    """
    try:
        return RunRecord.model_validate(_load(text, "run"))
    except ValidationError as error:
        raise TamperedError(f"A run in the bundle cannot be read: {_word(error)}.") from error


def _load(text: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TamperedError(f"The bundle's {what} is no JSON.") from error
    if not isinstance(document, dict):
        raise TamperedError(f"The bundle's {what} is no JSON object.")
    return document


def _word(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
