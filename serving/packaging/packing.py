"""Writes the build context of a scoring server: everything an image needs, in one folder, or nothing.

Decisions (what is packaged, how files are worded) are made before anything is written; the folder appears as
a whole by one rename.
"""

import json
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

from registry import (
    NotFoundError,
    RegistryStore,
    UsageError,
    check_trust,
    fetch_artifact,
    find_holder,
)
from serving.bundled import ARTIFACT, BundledVersion, write_bundled
from serving.target import Target, make_target

from .requirements import lock_requirements
from .wheel import write_wheel

__all__ = ["Order", "Package", "pack"]

PLACE: Final = "/srv/version"
"""Where the version is in the image."""

RENDERED: Final = ("Dockerfile", "README.md", "compose.yaml", "kubernetes.yaml")
PLAIN: Final = {"dockerignore": ".dockerignore", "env.example": "env.example"}
MAX_SLUG: Final = 50
"""Of 63 characters that a label of Kubernetes may have."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be packaged.

    Attributes:
        model: The registered model.
        stage: Whose holder is packaged, or which stage is followed.
        folder: The build context; must not exist, or be empty.
        version: Another version than the stage's holder; None: the holder.
        follow: The image follows the stage instead of carrying a version.
        port: The port that the server listens on, inside and out.
        image: Name of the image; None: made from the model's name.
    """

    model: str
    stage: str
    folder: Path
    version: str | None = None
    follow: bool = False
    port: int = 8080
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """What was packaged.

    Attributes:
        version: The version inside, or the one that holds the stage now, where it is followed.
        manifest: sha256 over its files.
        image: The image's name.
        files: Paths in the folder.
        packages: How many packages are locked.
    """

    version: str
    manifest: str
    image: str
    files: tuple[str, ...]
    packages: int


def pack(store: RegistryStore, order: Order, *, template: str, dry_run: bool = False) -> Package:
    """Fetches the version, checks it, and writes the folder.

    Args:
        store: MLflow.
        order: What is to be packaged.
        template: Name of the ledger's experiment, with ``{model}``.
        dry_run: Do everything but leave no folder behind.

    Raises:
        UsageError: The folder is not empty, or a package that is needed is not installed here.
        NotFoundError: No such model or version, or nobody holds the stage.
        TamperedError: The files are not those that history recorded.
        UntrustedError: It would run code that nobody vouched for.
        ArtifactError: The artifact is gone.
    """
    _check_free(order.folder)
    target = _find_target(store, order, template)
    parent = order.folder.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"The folder {parent} does not exist.")
    with tempfile.TemporaryDirectory(dir=parent, prefix=".greenroom-") as scratch:
        context = Path(scratch) / "context"
        version = context / "version"
        version.mkdir(parents=True)
        row = store.get_version(order.model, target.version)
        found = fetch_artifact(store, row, version / ARTIFACT, manifest=target.manifest)
        if not target.manifest:
            check_trust(version / ARTIFACT)
        target = replace(target, manifest=found.digest)
        lines = lock_requirements(_read_requirements(version / ARTIFACT))
        (context / "requirements.lock").write_text("\n".join([*lines, ""]), "utf-8")
        (context / "wheels").mkdir()
        write_wheel(context / "wheels")
        write_bundled(BundledVersion(version, order.model, order.stage, target))
        words = _choose_words(order, target)
        if order.follow:
            shutil.rmtree(version)
        _render(context, words)
        files = sorted(path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file())
        if not dry_run:
            _publish(context, order.folder)
    return Package(target.version, target.manifest, words["image"], tuple(files), len(lines))


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} exists already and is not an empty folder.", hint="Name a folder that does not exist."
        )


def _find_target(store: RegistryStore, order: Order, template: str) -> Target:
    holder = find_holder(store, order.model, order.stage, template=template)
    if holder is not None and order.version in (None, holder.version):
        return make_target(holder)
    number = order.version or store.get_model(order.model).aliases.get(order.stage)
    if number is None:
        raise NotFoundError(
            f"{order.model} has no {order.stage} version.",
            hint=f"Promote one: promote-model {order.model} --to {order.stage}, or name one with --version.",
        )
    row = store.get_version(order.model, number)
    return Target(version=row.version, run_id=row.run_id, created_ms=row.created_ms, managed=False)


def _read_requirements(artifact: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return (artifact / "requirements.txt").read_text("utf-8").splitlines()
    return []


def _choose_words(order: Order, target: Target) -> Mapping[str, str]:
    """What the templates leave open."""
    slug = _make_slug(order.model)
    image = order.image or f"greenroom-{slug}:{'following' if order.follow else target.version}"
    listening = ["--host", "0.0.0.0", "--port", str(order.port)]  # noqa: S104 - inside a container
    what = [order.model, "--stage", order.stage] if order.follow else [order.model, "--from", PLACE]
    words = {
        "slug": slug,
        "image": image,
        "port": str(order.port),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "entrypoint": json.dumps(["serve-model", *what, *listening]),
    }
    return {**words, **(_word_following(order) if order.follow else _word_inside(order, target))}


def _word_inside(order: Order, target: Target) -> Mapping[str, str]:
    return {
        "title": f"{order.model} version {target.version}",
        "what": f"A scoring server with version {target.version} of {order.model} inside "
        f"(manifest `{target.manifest[:12]}`). It needs no registry and follows nothing: another version "
        "is another image.",
        "copy_version": f"COPY --chown=10001:10001 version {PLACE}\n",
        "version_row": "| `version/` | the model and `version.json`, which says which one it is |\n",
        "run_options": "",
        "more": "`MLFLOW_TRACKING_URI` in `compose.yaml` and `kubernetes.yaml` is not used by this image.",
    }


def _word_following(order: Order) -> Mapping[str, str]:
    return {
        "title": f"{order.model}, {order.stage}",
        "what": f"A scoring server that follows {order.stage} of {order.model} within a second. It carries "
        "no model: it asks the tracking server that `MLFLOW_TRACKING_URI` names, and serves on from its "
        "cache while that is away.",
        "copy_version": "",
        "version_row": "",
        "run_options": "--env MLFLOW_TRACKING_URI=http://tracking:5000 ",
        "more": "Its packages are those of today's version; package again when others are needed.",
    }


def _make_slug(name: str) -> str:
    """The name as Kubernetes and image registries take it.

    >>> _make_slug("Flight Delay_2")
    'flight-delay-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:MAX_SLUG].strip("-") or "model"


def _render(context: Path, words: Mapping[str, str]) -> None:
    templates = resources.files(__package__) / "templates"
    for name in RENDERED:
        text = Template((templates / name).read_text("utf-8")).substitute(words)
        (context / name).write_text(text, "utf-8")
    for name, place in PLAIN.items():
        (context / place).write_text((templates / name).read_text("utf-8"), "utf-8")


def _publish(context: Path, folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()  # an empty one
    context.chmod(0o755)
    context.rename(folder)
