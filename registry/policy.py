"""What a team asks of a version before it moves: ``policy.toml``, validated, with a digest."""

import difflib
import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UsageError

__all__ = ["EvaluationPolicy", "Policy", "read_policy"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EvaluationPolicy(_Section):
    """Rows to judge by, where the candidate's run brings none.

    Attributes:
        data: File, folder or ``s3://`` URI; ``--data`` says otherwise.
        target: Column with the truth.
        group: Column whose equal values mark rows that depend on each other; None: every row by itself.
        task: What is predicted; ``auto`` looks at the target.
    """

    data: str | None = None
    target: str | None = None
    group: str | None = None
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"


class Policy(_Section):
    """A policy; without a file these defaults hold (DESIGN: superiority for production).

    Attributes:
        evaluation: Rows to judge by.
        confidence: One-sided confidence with which a candidate must be better.
        trust: ``checked`` refuses artifacts that would run code nobody vouched for; ``author`` runs them,
            as MLflow does everywhere.
        allow_override: Whether ``--override`` may be used.
        timeout_s: Seconds a model may take to load and answer.
    """

    evaluation: EvaluationPolicy = Field(default_factory=EvaluationPolicy)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    trust: Literal["checked", "author"] = "checked"
    allow_override: bool = True
    timeout_s: float = Field(default=600.0, gt=0)

    def compute_digest(self) -> str:
        """sha256 over the policy's values, in hexadecimal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def read_policy(path: Path | None) -> Policy:
    """Reads a policy file; None gives the defaults.

    Raises:
        UsageError: It is missing, no TOML, or a key or value is wrong; names file and key.
    """
    if path is None:
        return Policy()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The policy {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The policy {path} is no TOML: {error}.") from error
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        raise UsageError(_word(path, error.errors()[0])) from error


def _word(path: Path, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{path}: {key}: {problem['msg'].lower()} (found {problem['input']!r})."
    known = [*Policy.model_fields, *(f"evaluation.{name}" for name in EvaluationPolicy.model_fields)]
    near = difflib.get_close_matches(key, known, n=1)
    return f"{path}: there is no key {key!r}." + (f" Did you mean {near[0]!r}?" if near else "")
