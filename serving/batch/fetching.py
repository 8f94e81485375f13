"""Gets a version onto this machine for a batch: manifest, trust, and a compiled plan if one is asked for.

Rests on what serving rests on: the cache, and :mod:`serving.preparing` where a plan is wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from registry import (
    ArtifactError,
    Ledger,
    NotFoundError,
    RefusedError,
    RegistryStore,
    Settings,
    Tag,
    UntrustedError,
    check_trust,
    fetch_artifact,
    open_store,
)
from serving.cache import ModelCache
from serving.holding import StageWatch
from serving.preparing import Preparer
from serving.target import Target

__all__ = ["FetchedModel", "fetch_model", "find_target"]


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A version on this machine's disk.

    Attributes:
        folder: Its artifact, whole, and hashed just now.
        manifest: sha256 over its files.
        plan: Folder of its compiled plan, if one was asked for.
    """

    folder: str
    manifest: str
    plan: str | None = None


def find_target(
    store: RegistryStore, settings: Settings, model: str, stage: str, version: str | None
) -> tuple[Target, Sequence[str]]:
    """Which version it is, and the manifests that a person vouched for.

    Raises:
        NotFoundError: There is no such model or version, or nothing has the stage.
        TamperedError: History is not sound.
        UnreachableError: MLflow gives no answer.
    """
    watch = StageWatch(lambda: store, model, stage, template=settings.ledger_experiment)
    held = watch.look()
    approved = _find_approved(store, settings, model)
    if version is None:
        if held is None:
            raise NotFoundError(
                f"{model} has no version in {stage}.",
                hint=f"Promote one: promote-model {model} --to {stage}; or name one: --version N.",
            )
        return held, approved
    found = store.get_version(model, version)
    known = [one for one in (held, watch.staged) if one is not None and one.managed]
    for target in known:
        if (target.version, target.created_ms) == (found.version, found.created_ms):
            return target, approved
    return Target(found.version, run_id=found.run_id, created_ms=found.created_ms, managed=False), approved


def _find_approved(store: RegistryStore, settings: Settings, model: str) -> Sequence[str]:
    reading = Ledger(store, model, template=settings.ledger_experiment).find()
    if reading is None or Tag.LEDGER not in reading.model.tags:
        return ()
    return tuple(reading.state.approved)


def fetch_model(
    settings: Settings,
    model: str,
    target: Target,
    *,
    trust_author: bool,
    vouched: Sequence[str] = (),
    compiled: bool = False,
) -> FetchedModel:
    """Makes a version ready to be loaded. What runs in there, runs after this; only a plan is tried out here.

    Args:
        settings: Which MLflow, and where the cache is.
        model: The registered model.
        target: The version; with a manifest, its files must have it.
        trust_author: Take a version that nobody vouched for.
        vouched: Manifests that somebody vouched for.
        compiled: A plan is wanted.

    Raises:
        TamperedError: Its files are not those that history recorded.
        UntrustedError: It would run code that nobody vouched for.
        RefusedError: A plan is wanted, and there can be none.
        ArtifactError: It is gone.
        UnreachableError: MLflow gives no answer.
    """
    cache = ModelCache(Path(settings.cache_dir).expanduser())
    folder, manifest = _find(settings, cache, model, target)
    if not (target.managed or trust_author or manifest in vouched):
        _check_trust(folder, model, target)
    if not compiled:
        return FetchedModel(str(folder), manifest)
    preparer = Preparer(lambda: open_store(settings), cache, model=model, trust_author=True)
    prepared = preparer.prepare(replace(target, manifest=manifest))
    if prepared.plan is None:
        raise RefusedError(
            f"Version {target.version} of {model} has no compiled plan: {prepared.reason}",
            hint="Score it without --engine-path compiled.",
        )
    return FetchedModel(str(folder), manifest, prepared.plan)


def _find(settings: Settings, cache: ModelCache, model: str, target: Target) -> tuple[Path, str]:
    if target.manifest and (folder := cache.find(target.manifest)) is not None:
        return folder, target.manifest
    store = open_store(settings)
    version = store.get_version(model, target.version)
    if target.created_ms and version.created_ms != target.created_ms:
        raise ArtifactError(
            f"Version {target.version} of {model} was deleted, and another has its number now."
        )
    with cache.incoming() as folder:
        manifest = fetch_artifact(store, version, folder, manifest=target.manifest).digest
        return cache.keep(folder, manifest), manifest


def _check_trust(folder: Path, model: str, target: Target) -> None:
    try:
        check_trust(folder)
    except UntrustedError as error:
        raise UntrustedError(
            error.what,
            hint=f"If you know it: greenroom approve {model} --version {target.version}; "
            "or take its author's word: --trust-author.",
        ) from error
