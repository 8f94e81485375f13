"""Looks at the installation and the server, and says what would go wrong later."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from .clock import Clock
from .environment import Settings
from .errors import GreenroomError
from .probe import Probe, run_probe
from .store import RegistryStore

__all__ = ["Check", "diagnose"]

IMPORT_NAMES: Final = ("registry", "training", "serving")
DISTRIBUTION: Final = "greenroom"
OLDEST_MLFLOW: Final = (3, 17)
MAX_OFFSET_S: Final = 5.0
"""History shows times by each writer's clock; more than this apart reads wrongly."""

POOL: Final = (
    "cannot be seen from here: greenroom server sets it; elsewhere give the server "
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=20 and MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=60"
)

Grade = Literal["good", "look", "bad"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``good``, ``look`` (works, but read this) or ``bad`` (will fail)."""

    name: str
    grade: Grade
    text: str


def diagnose(settings: Settings, store: RegistryStore, clock: Clock, *, probe: bool) -> Iterator[Check]:
    """Looks at one thing after another; without ``probe`` it only reads.

    Args:
        settings: What the environment says.
        store: The MLflow it names.
        clock: Ours, to compare with the server's.
        probe: Also race for a write-once param on a throw-away run, which is deleted again.
    """
    yield from check_installation()
    yield from _check_server(settings, store)
    if probe:
        yield from _show_probe(run_probe(store, clock))
    else:
        yield Check("probe", "look", "not run; --probe tries whether exactly one of many writers wins")


def check_installation() -> Iterator[Check]:
    """Python, MLflow's library, and which distribution owns our three import names."""
    from importlib.metadata import version  # noqa: PLC0415 - 20 ms

    yield Check(
        "python", "good", f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    )
    yield _check_mlflow("MLflow library", version("mlflow"))
    for name in IMPORT_NAMES:
        yield _check_owner(name)


def _check_owner(name: str) -> Check:
    from importlib.metadata import packages_distributions  # noqa: PLC0415 - reads every RECORD
    from importlib.util import find_spec  # noqa: PLC0415 - beside its user
    from pathlib import Path  # noqa: PLC0415 - beside its user

    home = Path(__file__).resolve().parent.parent
    spec = find_spec(name)
    others = sorted(set(packages_distributions().get(name, ())) - {DISTRIBUTION})
    if spec is None or spec.origin is None:
        return Check(f"import {name}", "bad", "cannot be imported; install greenroom again")
    if Path(spec.origin).resolve().parent.parent != home:
        return Check(
            f"import {name}", "bad", f"is not ours: it comes from {spec.origin}; remove that package"
        )
    if others:
        return Check(f"import {name}", "bad", f"is also installed by {', '.join(others)}; remove one of them")
    return Check(f"import {name}", "good", f"belongs to {DISTRIBUTION}")


def _check_mlflow(name: str, version: str) -> Check:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST_MLFLOW:
        return Check(name, "bad", f"{version} is older than 3.17, on which Greenroom was tried")
    if numbers >= (4,):
        return Check(name, "look", f"{version} is newer than any that Greenroom was tried on (3.17)")
    return Check(name, "good", version)


def _check_server(settings: Settings, store: RegistryStore) -> Iterator[Check]:
    try:
        yield _check_mlflow("MLflow server", store.get_server_version())
        models = store.list_models()
    except GreenroomError as error:
        yield Check("MLflow server", "bad", str(error))
        return
    yield Check("registry", "good", f"{len(models)} registered models at {store.registry_uri}")
    user = store.get_user()
    yield (
        Check("user", "good", f"{user} (authenticated by MLflow)")
        if user
        else Check(
            "user", "look", "MLflow does not authenticate users here: names in the history are self-declared"
        )
    )
    if settings.tracking_uri.startswith("http"):
        yield Check("pool", "look", POOL)
    yield from _check_stages(store, [model.name for model in models])


def _check_stages(store: RegistryStore, names: list[str]) -> Iterator[Check]:
    """MLflow's deprecated stages can hold two Production versions at once; Greenroom never writes them."""
    for name in names:
        staged = [one for one in store.list_versions(name) if one.deprecated_stage]
        if staged:
            what = ", ".join(f"version {one.version} {one.deprecated_stage}" for one in staged[:5])
            text = f"MLflow's deprecated stages are set ({what}); nothing here reads them"
            yield Check(f"stages of {name}", "look", text)


def _show_probe(found: Probe) -> Iterator[Check]:
    yield Check(
        "compare-and-swap",
        "good" if found.holds else "bad",
        f"{found.trials} races of {found.racers} writers: one winner in {found.single}"
        + ("" if found.holds else "; do not promote on this server"),
    )
    yield Check(
        "names",
        "good" if found.names_hold else "bad",
        f"{found.racers} racers for one experiment name: {found.name_winners} got it",
    )
    grade: Grade = "good" if abs(found.offset_s) <= MAX_OFFSET_S else "look"
    yield Check("clock", grade, f"the server's clock is {found.offset_s:+.1f} s from ours")
