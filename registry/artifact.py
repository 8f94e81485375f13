"""Gets a version's artifact onto this machine: into a fresh folder, whole, and hashed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import TamperedError
from .manifest import Manifest, compute_manifest
from .store import ModelVersion, RegistryStore

__all__ = ["fetch_artifact", "fetched_artifact"]


def fetch_artifact(
    store: RegistryStore, version: ModelVersion, folder: Path, *, manifest: str = ""
) -> Manifest:
    """Downloads into a folder that must not exist yet, and hashes what came.

    Args:
        store: MLflow.
        version: Whose artifact.
        folder: Where to; made here, so that nothing stale can be in it.
        manifest: What its digest must be, if history says so.

    Raises:
        ArtifactError: It is gone or did not come whole.
        TamperedError: It is not the one that history recorded.
    """
    folder.mkdir(mode=0o700, parents=True)
    store.download(version, str(folder))
    found = compute_manifest(folder)
    if manifest and found.digest != manifest:
        raise TamperedError(
            f"The files of {version.name} version {version.version} are not those that were verified "
            f"(manifest {found.digest[:12]}, recorded {manifest[:12]}).",
            hint=f"Somebody changed them. Do not serve this version; see greenroom verify {version.name}",
        )
    return found


@contextmanager
def fetched_artifact(
    store: RegistryStore, version: ModelVersion, *, manifest: str = ""
) -> Iterator[tuple[Path, Manifest]]:
    """The same for a while: the folder is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
        folder = Path(scratch) / "model"
        yield folder, fetch_artifact(store, version, folder, manifest=manifest)
