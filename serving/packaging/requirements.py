"""Which packages, in which versions, a scoring server and its model need: as they are installed here."""

import importlib.metadata
from collections.abc import Iterable, Iterator
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from registry import UsageError

__all__ = ["lock_requirements"]

OURS: Final = "greenroom"
EDITABLE_ONLY: Final = "editables"
"""What an editable install of ours asks for besides; nobody else needs it."""
EXTRAS: Final = ("fast", "postgres")
"""Extras that are taken along where their packages are installed."""


def lock_requirements(wanted: Iterable[str]) -> list[str]:
    """Returns ``name==version`` for everything that is needed, sorted; Greenroom itself is left out.

    Args:
        wanted: Lines of the model's ``requirements.txt``.

    Raises:
        UsageError: Something is not installed here, or in another version than the model asks for.
    """
    found: dict[str, str] = {}
    pending = [*_read_lines(wanted), *_list_ours()]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        requirement = pending.pop()
        name, distribution = canonicalize_name(requirement.name), _find(requirement)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        if name != OURS:
            found[name] = distribution.version
        pending += _list_needs(distribution, requirement.extras)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _read_lines(lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise UsageError(
                f"The model's requirements.txt holds {text!r}, which names no package.",
                hint="Log the model with pip_requirements that are names and versions.",
            ) from error
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def _list_ours() -> Iterator[Requirement]:
    """Greenroom with every extra whose packages are here."""
    distribution = importlib.metadata.distribution(OURS)
    yield Requirement(OURS)
    for extra in EXTRAS:
        needs = list(_list_needs(distribution, {extra}, own=False))
        if all(_is_installed(need) for need in needs):
            yield from needs


def _list_needs(
    distribution: importlib.metadata.Distribution, extras: Iterable[str], *, own: bool = True
) -> Iterator[Requirement]:
    """What a distribution asks for here: by itself, and for the extras."""
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if requirement.name == EDITABLE_ONLY:
            continue
        marker = requirement.marker
        plain = marker is None or marker.evaluate({"extra": ""})
        with_extra = marker is not None and any(marker.evaluate({"extra": extra}) for extra in extras)
        if (own and plain) or (with_extra and not plain):
            yield requirement


def _is_installed(requirement: Requirement) -> bool:
    try:
        importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _find(requirement: Requirement) -> importlib.metadata.Distribution:
    try:
        distribution = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(
            f"The package {requirement.name} is needed and not installed here, so its version is not known.",
            hint=f"Install it: pip install '{requirement}'",
        ) from error
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        raise UsageError(
            f"{requirement} is needed, and {distribution.version} is installed here.",
            hint="Package from an environment that has what the model was made with.",
        )
    return distribution
