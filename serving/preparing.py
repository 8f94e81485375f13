"""From a version's number to files that may be served: download, manifest, trust, load, example, plan.

Nothing of an artifact runs before its manifest is what history says, or, where history says nothing, before
the trust check has passed. The work runs in a short-lived process; :class:`Shelf` is what needs none.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from registry import ArtifactError, RegistryStore, UntrustedError, check_trust, fetch_artifact

from .cache import ModelCache, Pointer, Record
from .live import PreparedModel, State
from .runtime import name_runtime
from .target import Target

__all__ = ["Preparer", "Shelf"]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What lies ready in the cache, and the note of what was served.

    Attributes:
        cache: This machine's artifacts.
        server: Which MLflow it is.
        model: The registered model's name.
        stage: The stage that is followed.
        trust_author: A version that nobody vouched for may be served.
    """

    cache: ModelCache
    server: str
    model: str
    stage: str
    trust_author: bool

    def find(self, target: Target) -> PreparedModel | None:
        """A version that was prepared before, for this machine and these libraries; hashed again just now."""
        pointer = self._read_pointer()
        manifest = target.manifest
        if not manifest and pointer and _is_same_version(pointer.target, target):
            manifest = pointer.manifest
        return self._take(target, manifest) if manifest else None

    def restore(self) -> PreparedModel | None:
        """What was served last; None if there is nothing whole."""
        pointer = self._read_pointer()
        return self._take(pointer.target, pointer.manifest) if pointer else None

    def has_cached(self) -> bool:
        """Whether something was served before, as far as the note says."""
        return self._read_pointer() is not None

    def remember(self, state: State) -> None:
        """Notes what is served now, and what else must stay in the cache."""
        if state.model is None:
            return
        pinned = tuple(model.manifest for model in state.loaded)
        pointer = Pointer(state.model.target, state.model.manifest, pinned)
        self.cache.write_pointer(self.server, self.model, self.stage, pointer)

    def _take(self, target: Target, manifest: str) -> PreparedModel | None:
        record = self.cache.find_record(manifest, name_runtime())
        if record is None or not (target.manifest or record.is_trusted or self.trust_author):
            return None
        folder = self.cache.find(manifest)
        return None if folder is None else _describe(target, folder, manifest, record, from_cache=True)

    def _read_pointer(self) -> Pointer | None:
        return self.cache.read_pointer(self.server, self.model, self.stage)


class Preparer:
    """Prepares versions of one model, in this process.

    Args:
        connect: Opens MLflow, and returns the same store once that has worked.
        cache: This machine's artifacts.
        model: The registered model's name.
        trust_author: Load a version that nobody vouched for.
        trial: Entered around the first time that a version is loaded.
    """

    def __init__(
        self,
        connect: Callable[[], RegistryStore],
        cache: ModelCache,
        *,
        model: str,
        trust_author: bool,
        trial: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._connect = connect
        self._cache = cache
        self._model = model
        self._trust_author = trust_author
        self._trial = trial

    def prepare(self, target: Target) -> PreparedModel:
        """Makes a version ready to be loaded.

        Raises:
            TamperedError: Its files are not those that history recorded.
            UntrustedError: It would run code that nobody vouched for.
            ArtifactError: It is gone, does not load or does not answer its own input example.
            NotFoundError: MLflow has no such version any more.
            UnreachableError: MLflow does not answer.
            StoreError: MLflow refused.
        """
        folder = self._cache.find(target.manifest) if target.manifest else None
        from_cache, manifest = folder is not None, target.manifest
        if folder is None:
            folder, manifest = self._download(target)
        record = self._cache.find_record(manifest, name_runtime())
        if record is None:
            record = self._try_out(folder, manifest)
        return _describe(target, folder, manifest, record, from_cache=from_cache)

    def _download(self, target: Target) -> tuple[Path, str]:
        store = self._connect()
        version = store.get_version(self._model, target.version)
        with self._cache.incoming() as folder:
            manifest = fetch_artifact(store, version, folder, manifest=target.manifest).digest
            if not target.manifest and not self._trust_author:
                check_trust(folder)
            return self._cache.keep(folder, manifest), manifest

    def _try_out(self, folder: Path, manifest: str) -> Record:
        """Opens it here for the first time, before it comes near anything that answers requests."""
        from .scoring import NativeScorer  # noqa: PLC0415 - MLflow
        from .wording import word_load_failure  # noqa: PLC0415 - as above

        with self._trial(), word_load_failure():
            is_warm = NativeScorer.load(folder).warm_up()
        with self._cache.incoming() as out:
            reason, is_compiled = _compile(folder, out)
            return self._cache.keep_record(
                manifest,
                name_runtime(),
                Record(reason=reason, is_warm=is_warm, is_trusted=_is_trusted(folder)),
                out if is_compiled else None,
            )


def _compile(folder: Path, out: Path) -> tuple[str, bool]:
    from .compiled.compiler import compile_artifact  # noqa: PLC0415 - heavy
    from .compiled.errors import NotCompilableError  # noqa: PLC0415 - as above

    try:
        compile_artifact(folder, out)
    except NotCompilableError as error:
        return str(error), False
    return "its compiled plan gave the answers of MLflow's own code on every row tried", True


def _is_trusted(folder: Path) -> bool:
    try:
        check_trust(folder)
    except (UntrustedError, ArtifactError):
        return False
    return True


def _is_same_version(one: Target, other: Target) -> bool:
    return (one.version, one.created_ms) == (other.version, other.created_ms)


def _describe(
    target: Target, folder: Path, manifest: str, record: Record, *, from_cache: bool
) -> PreparedModel:
    return PreparedModel(
        target=target,
        manifest=manifest,
        artifact=str(folder),
        plan=str(record.plan) if record.plan else None,
        reason=record.reason,
        warm=record.is_warm,
        from_cache=from_cache,
    )
