"""A plan on disk: one JSON document, its arrays, the graph of its trees, and digests of all of them."""

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from .errors import PlanError

__all__ = ["FORMAT", "PlanFiles", "read_plan", "write_plan"]

FORMAT: Final = 2
"""Raised whenever an older worker would read a plan wrongly."""
_DOCUMENT: Final = "plan.json"
_DIGEST: Final = "plan.sha256"
_ARRAYS: Final = "arrays.npz"
_GRAPH: Final = "trees.onnx"


@dataclass(frozen=True, slots=True)
class PlanFiles:
    """What a plan consists of.

    Attributes:
        document: JSON: how requests are read, features made, answers written.
        arrays: Numbers, by the names that the document uses.
        graph: The trees as ONNX; empty for a model without trees.
    """

    document: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    graph: bytes = field(default=b"", repr=False)


def write_plan(folder: Path, plan: PlanFiles) -> None:
    """Writes a plan into an existing empty folder; all of it is on the disk when this returns."""
    packed = io.BytesIO()
    np.savez(packed, **plan.arrays)  # type: ignore[arg-type]  # numpy types its own keyword only
    parts = {_ARRAYS: packed.getvalue(), **({_GRAPH: plan.graph} if plan.graph else {})}
    for name, content in parts.items():
        _write(folder / name, content)
    digests = {name: _digest(content) for name, content in parts.items()}
    document = orjson.dumps({**plan.document, "format": FORMAT, "files": digests})
    _write(folder / _DOCUMENT, document)
    _write(folder / _DIGEST, _digest(document).encode())


def read_plan(folder: Path) -> PlanFiles:
    """Reads a plan.

    Raises:
        PlanError: A file is missing or is not as it was written, or another version of this program wrote it.
    """
    content = _read(folder / _DOCUMENT)
    if _digest(content).encode() != _read(folder / _DIGEST):
        raise PlanError(f"The plan's file {_DOCUMENT} is not as it was written.")
    document = orjson.loads(content)
    if document.get("format") != FORMAT:
        raise PlanError(f"The plan has format {document.get('format')}, this program reads {FORMAT}.")
    parts = {name: _read_part(folder / name, digest) for name, digest in document["files"].items()}
    with np.load(io.BytesIO(parts[_ARRAYS]), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return PlanFiles(document, arrays, parts.get(_GRAPH, b""))


def _read_part(path: Path, digest: str) -> bytes:
    content = _read(path)
    if _digest(content) != digest:
        raise PlanError(f"The plan's file {path.name} is not as it was written.")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PlanError(f"The plan's file {path.name} cannot be read: {error.strerror}.") from error


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
