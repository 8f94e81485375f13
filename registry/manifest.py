"""What an artifact consists of: sha256 over its files (manifest), and over their names and sizes (layout)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import ArtifactError

__all__ = ["IGNORED", "Manifest", "compute_layout", "compute_manifest"]

IGNORED: Final = frozenset({"registered_model_meta"})
"""Written by MLflow's client beside what it downloads; no part of what was logged."""

CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of an artifact.

    Attributes:
        digest: sha256 over every path, size and content, in hexadecimal.
        layout: sha256 over every path and size: can be checked without a download.
        files: Relative POSIX path → (bytes, sha256).
    """

    digest: str
    layout: str
    files: Mapping[str, tuple[int, str]]


def compute_manifest(folder: Path) -> Manifest:
    """Reads every file below a folder.

    Raises:
        ArtifactError: There is none, or one is a link (it could point anywhere).
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtifactError(f"The artifact holds a link ({path.relative_to(folder)}).")
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in IGNORED:
            files[name] = (path.stat().st_size, _hash_file(path))
    if not files:
        raise ArtifactError("The artifact has no files.")
    text = "".join(f"{name}\0{size}\0{content}\n" for name, (size, content) in sorted(files.items()))
    layout = compute_layout({name: size for name, (size, _) in files.items()})
    return Manifest(hashlib.sha256(text.encode()).hexdigest(), layout, files)


def compute_layout(sizes: Mapping[str, int]) -> str:
    """sha256 over names and sizes.

    >>> compute_layout({"MLmodel": 10})[:8]
    '5de462f1'
    """
    text = "".join(f"{name}\0{size}\n" for name, size in sorted(sizes.items()) if name not in IGNORED)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_file(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            content.update(chunk)
    return content.hexdigest()
