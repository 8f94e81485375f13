"""What in MLflow is not as history says: aliases moved by hand, versions, files or logged models gone."""

from collections.abc import Iterator, Sequence

from .errors import ArtifactError, NotFoundError
from .ledger.ledger import Ledger
from .ledger.reading import Reading
from .ledger.state import Holding
from .manifest import compute_layout
from .projection import is_projected, plan_aliases
from .store import ModelVersion, RegistryStore

__all__ = ["find_deviations", "read_deviations"]


def read_deviations(ledger: Ledger) -> tuple[str, ...]:
    """Reads the history and looks; empty for a model without one. Writes nothing.

    Raises:
        NotFoundError: There is no such model.
        TamperedError: History is not sound.
    """
    reading = ledger.find()
    if reading is None or reading.state.seq == 0:
        return ()
    return tuple(find_deviations(ledger.store, reading, ledger.store.list_versions(ledger.name)))


def find_deviations(
    store: RegistryStore, reading: Reading, versions: Sequence[ModelVersion]
) -> Iterator[str]:
    """Sentences, each with what to do where something can be done. Files are listed, not downloaded.

    Args:
        store: MLflow.
        reading: The history.
        versions: All versions there are.
    """
    known = {version.version: version for version in versions}
    for stage, holder in reading.state.holders.items():
        version = known.get(holder.version)
        if version is not None and version.created_ms == holder.created_ms:
            yield from _check_files(store, stage, holder, version)
            continue
        yield f"Version {holder.version}, in {stage} by history, was deleted from MLflow."
        if version is not None and reading.model.aliases.get(stage) == holder.version:
            yield f"The alias {stage} names another version of that number, which nobody promoted."
    yield from _check_aliases(reading)


def _check_files(store: RegistryStore, stage: str, holder: Holding, version: ModelVersion) -> Iterator[str]:
    try:
        sizes = store.list_files(version)
    except (ArtifactError, NotFoundError):
        yield f"The files of version {holder.version}, in {stage}, are gone: its logged model was deleted."
        return
    if holder.layout and compute_layout(sizes) != holder.layout:
        yield (
            f"The files of version {holder.version}, in {stage}, are not those that were recorded. "
            f"See greenroom verify {version.name}"
        )


def _check_aliases(reading: Reading) -> Iterator[str]:
    state, model = reading.state, reading.model
    for move in plan_aliases(state, model.aliases):
        found = model.aliases.get(move.alias)
        wanted = f"version {move.version}" if move.version else "nothing"
        cause = "was moved by hand" if is_projected(model, state) else "is not up to date yet"
        yield (
            f"The alias {move.alias} {cause}: it is at {f'version {found}' if found else 'nothing'}, "
            f"history says {wanted}. Put it right: greenroom reconcile {model.name}"
        )
