"""What a worker is told, as values that travel to other processes and machines as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from registry import Piece, SourceFile
from serving.target import Target

__all__ = ["COMPILED", "NATIVE", "Column", "Part", "PartReport", "ScoreOrder"]

NATIVE = "native"
COMPILED = "compiled"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the model takes. ``kind`` is MLflow's type name; empty: whatever the file has."""

    name: str
    kind: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class ScoreOrder:
    """How every part is scored.

    Attributes:
        model: The registered model's name.
        target: The version, with the manifest its files must have.
        trust_author: Load a version that nobody vouched for.
        vouched: Manifests that a person vouched for.
        path: ``native`` or ``compiled``.
        columns: What the model is given, in this order.
        params: For ``predict``.
        keep: Columns of the input that the output has too.
        batch_rows: Rows that are scored at once.
        refuse_bad: The first bad row ends the job.
        refuse_contract: Rows are checked against the model's contract.
        answer: Name of the output's column where the model gives one value per row.
        output: Where parts go.
        job: sha256 of all that the job's parts depend on.
        schema: Of the output: an Arrow schema, base64; empty while it is not known.
    """

    model: str
    target: Target
    trust_author: bool
    vouched: tuple[str, ...]
    path: str
    columns: tuple[Column, ...]
    params: Mapping[str, Any]
    keep: tuple[str, ...]
    batch_rows: int
    refuse_bad: bool
    refuse_contract: bool
    answer: str
    output: str
    job: str = ""
    schema: str = field(default="", repr=False)

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> "ScoreOrder":
        """From JSON."""
        found = json.loads(text)
        found["target"] = Target(**found["target"])
        found["columns"] = tuple(Column(**column) for column in found["columns"])
        found["keep"] = tuple(found["keep"])
        found["vouched"] = tuple(found["vouched"])
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the input, and the number that its files are named by."""

    number: int
    piece: Piece

    @property
    def name(self) -> str:
        """Of its file in the output."""
        return f"part-{self.number:05d}.parquet"

    @property
    def quarantine(self) -> str:
        """Of the file with its bad rows, if it has any."""
        return f"_quarantine/part-{self.number:05d}.parquet"

    def dump(self) -> dict[str, Any]:
        """As a JSON document."""
        return asdict(self)

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> "Part":
        """From a JSON document."""
        piece = dict(found["piece"])
        file = SourceFile(**{**piece.pop("file"), "columns": tuple(found["piece"]["file"]["columns"])})
        return cls(found["number"], Piece(file=file, **piece))


@dataclass(frozen=True, slots=True)
class PartReport:
    """What became of a part's rows.

    Attributes:
        read: Rows of the input.
        written: Rows of the output.
        quarantined: Rows that were bad; ``read`` is the sum of both.
        reasons: How many rows were bad, or only worth a warning, by column, what was found and the rule.
        warned: Rows that break a contract that only warns; they are answered.
        native: Rows of a compiled job that only MLflow's own code could answer.
    """

    read: int = 0
    written: int = 0
    quarantined: int = 0
    warned: int = 0
    native: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "PartReport") -> "PartReport":
        reasons = dict(self.reasons)
        for text, count in other.reasons.items():
            reasons[text] = reasons.get(text, 0) + count
        return PartReport(
            self.read + other.read,
            self.written + other.written,
            self.quarantined + other.quarantined,
            self.warned + other.warned,
            self.native + other.native,
            reasons,
        )
