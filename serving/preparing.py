"""From a version's number to a loaded model that has answered: download, manifest, trust, load, warm-up.

Nothing of an artifact runs before its manifest is what history says, or, where history says nothing, before
the trust check has passed.
"""

from collections.abc import Callable
from pathlib import Path

from registry import ArtifactError, GreenroomError, RegistryStore, check_trust, fetch_artifact

from .cache import ModelCache, Pointer
from .holding import Target
from .live import ServedModel
from .scoring import NativeScorer

__all__ = ["Preparer"]


class Preparer:
    """Prepares versions of one model for one stage.

    Args:
        connect: Opens MLflow, and returns the same store once that has worked.
        cache: This machine's artifacts.
        server: Which MLflow it is, for the cache.
        model: The registered model's name.
        stage: The stage that is followed.
        trust_author: Load a version that nobody vouched for.
    """

    def __init__(
        self,
        connect: Callable[[], RegistryStore],
        cache: ModelCache,
        *,
        server: str,
        model: str,
        stage: str,
        trust_author: bool,
    ) -> None:
        self._connect = connect
        self._cache = cache
        self._model = model
        self._stage = stage
        self._trust_author = trust_author
        self._server = server

    def prepare(self, target: Target) -> ServedModel:
        """Loads a version beside whatever is served.

        Raises:
            TamperedError: Its files are not those that history recorded.
            UntrustedError: It would run code that nobody vouched for.
            ArtifactError: It is gone, does not load or does not answer its own input example.
            NotFoundError: MLflow has no such version any more.
            UnreachableError: MLflow does not answer.
            StoreError: MLflow refused.
        """
        cached = self._cache.find(target.manifest) if target.manifest else None
        if cached is not None:
            return _load(target, cached, target.manifest, from_cache=True)
        folder, manifest = self._download(target)
        return _load(target, folder, manifest, from_cache=False)

    def restore(self) -> ServedModel | None:
        """Loads from the cache what was served last; None if there is nothing whole.

        Raises:
            ArtifactError: It does not load or does not answer its own input example.
        """
        pointer = self._read_pointer()
        folder = self._cache.find(pointer.manifest) if pointer else None
        if pointer is None or folder is None:
            return None
        return _load(pointer.target, folder, pointer.manifest, from_cache=True)

    def has_cached(self) -> bool:
        """Whether something was served before, as far as the pointer says."""
        return self._read_pointer() is not None

    def remember(self, model: ServedModel) -> None:
        """Notes in the cache that this is served now."""
        pointer = Pointer(model.target, model.manifest)
        self._cache.write_pointer(self._server, self._model, self._stage, pointer)

    def _read_pointer(self) -> Pointer | None:
        return self._cache.read_pointer(self._server, self._model, self._stage)

    def _download(self, target: Target) -> tuple[Path, str]:
        store = self._connect()
        version = store.get_version(self._model, target.version)
        with self._cache.incoming() as folder:
            manifest = fetch_artifact(store, version, folder, manifest=target.manifest).digest
            if not target.manifest and not self._trust_author:
                check_trust(folder)
            return self._cache.keep(folder, manifest), manifest


def _load(target: Target, folder: Path, manifest: str, *, from_cache: bool) -> ServedModel:
    try:
        scorer = NativeScorer.load(folder)
        warm = scorer.warm_up()
    except GreenroomError:
        raise
    except (Exception, SystemExit) as error:
        # The model's own code runs here, and may raise anything; the follower must learn one thing only.
        first_line = (str(error).splitlines() or [""])[0]
        raise ArtifactError(f"The model does not load: {type(error).__name__}: {first_line}") from error
    return ServedModel(target=target, manifest=manifest, scorer=scorer, warm=warm, from_cache=from_cache)
