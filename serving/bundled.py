"""One version out of a folder instead of a registry: what a container carries inside.

The folder holds the artifact, ``model/``, and ``version.json``, which says whose it is. Nothing is followed.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from registry import TamperedError, UsageError, check_model_name, check_stage, compute_manifest

from .cache import ModelCache
from .target import Target

__all__ = ["ARTIFACT", "BundledVersion", "FolderWatch", "read_bundled", "write_bundled"]

SCHEMA: Final = "greenroom/bundled/1"
ARTIFACT: Final = "model"
DOCUMENT: Final = "version.json"


@dataclass(frozen=True, slots=True)
class BundledVersion:
    """A version in a folder.

    Attributes:
        folder: Where ``version.json`` and ``model/`` are.
        model: The registered model it belongs to.
        stage: The stage that it held when it was put there.
        target: Which version; its manifest is always known.
    """

    folder: Path
    model: str
    stage: str
    target: Target


def write_bundled(version: BundledVersion) -> None:
    """Writes ``version.json`` beside the artifact that lies there already."""
    document = {
        "schema": SCHEMA,
        "model": version.model,
        "stage": version.stage,
        **asdict(version.target),
    }
    (version.folder / DOCUMENT).write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def read_bundled(folder: Path) -> BundledVersion:
    """Reads a folder that :func:`write_bundled` made.

    Raises:
        UsageError: It is no such folder.
    """
    try:
        document: Mapping[str, Any] = json.loads((folder / DOCUMENT).read_text("utf-8"))
        fields = {name: document[name] for name in Target.__slots__}
        target, model, stage = Target(**fields), document["model"], document["stage"]
        if document["schema"] != SCHEMA or not target.manifest:
            raise ValueError(document["schema"])  # noqa: TRY301 - one sentence for all that can be wrong
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} holds no packaged version: its {DOCUMENT} is missing or cannot be read.",
            hint="Make one with greenroom package NAME FOLDER; it is the folder version/ in there.",
        ) from error
    return BundledVersion(folder, check_model_name(model), check_stage(stage), target)


class FolderWatch:
    """Looks like a stage that nobody ever moves: see :class:`~serving.holding.StageWatch`.

    Args:
        version: What is served.
        cache: Where preparing finds its files, which are copied there at the first look.
    """

    def __init__(self, version: BundledVersion, cache: ModelCache) -> None:
        self._version = version
        self._cache = cache
        self._is_there = False
        self.staged: Target | None = None
        """Nothing is ever staged."""

    def look(self) -> Target:
        """The version in the folder.

        Raises:
            TamperedError: Its files are not those that were packaged.
        """
        if not self._is_there:
            self._stock()
        return self._version.target

    def _stock(self) -> None:
        manifest = self._version.target.manifest
        if self._cache.find(manifest) is None:
            source = self._version.folder / ARTIFACT
            with self._cache.incoming() as folder:
                with suppress(FileNotFoundError):  # then the digest is another one
                    shutil.copytree(source, folder)
                found = compute_manifest(folder).digest if folder.is_dir() else "none"
                if found != manifest:
                    raise TamperedError(
                        f"The files in {source} are not those that were packaged "
                        f"(manifest {found[:12]}, recorded {manifest[:12]}).",
                        hint="Package the version again.",
                    )
                self._cache.keep(folder, manifest)
        self._is_there = True
