"""Says what an artifact would run when it is opened, before anything of it is opened.

Loading a model runs whatever its author put there: pickles, ``code``, a ``loader_module``, models from
code. ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`` stops the first of these only. Here the files are read,
nothing is imported or unpickled. Trusted without asking: MLflow's own loaders of data-only formats, skops
files with types of scikit-learn, NumPy and SciPy, and Greenroom's own layers file by its sha256.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Final

from .errors import ArtifactError, UntrustedError
from .manifest import IGNORED

__all__ = ["Finding", "check_trust", "inspect_trust", "is_trusted_type", "read_mlmodel"]

TRUSTED_PREFIXES: Final = ("sklearn.", "numpy.", "scipy.", "datetime.")
"""Packages whose types a skops file may name without a person's word."""

UNTRUSTED_PREFIXES: Final = (
    "numpy.ctypeslib",
    "numpy.distutils",
    "numpy.f2py",
    "numpy.fromfile",
    "numpy.lib.",
    "numpy.load",
    "numpy.memmap",
    "numpy.save",
    "numpy.testing",
    "scipy.io.",
    "sklearn.datasets.",
    "sklearn.utils._testing",
)
"""Parts of them that run text, load libraries or pickles, or touch files."""

TRUSTED_NAMES: Final = frozenset(
    {f"builtins.{name}" for name in ("bytes", "bytearray", "complex", "dict", "frozenset", "range", "slice")}
    | {f"collections.{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque")}
)

DATA_ONLY_LOADERS: Final = frozenset(
    {"mlflow.sklearn", "mlflow.onnx", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost"}
)
"""Flavors of MLflow whose files are data unless one of them is a pickle (looked for separately)."""

CODE_LOADER: Final = "mlflow.pyfunc.loaders.code_model"
LIGHTGBM_BOOSTER: Final = "lightgbm.basic.Booster"
FILE_KEYS: Final = ("model_path", "data", "pickled_model", "model_code_path", "saved_model_dir", "config")
"""Keys of a flavor that name a file of the artifact."""

PICKLE_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill", ".pt", ".pth"})
PICKLE_MARK: Final = b"\x80"
"""First byte of every pickle of protocol 2 and later (PEP 307)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something executable in an artifact. ``where`` is a file or an MLmodel key, ``what`` says why."""

    where: str
    what: str


def inspect_trust(folder: Path) -> tuple[Finding, ...]:
    """Lists what the artifact would run that nobody vouched for; empty means it may be opened.

    Args:
        folder: The artifact, with its ``MLmodel``.

    Raises:
        ArtifactError: There is no readable ``MLmodel``.
    """
    description = read_mlmodel(folder)
    return tuple(_find(folder, description))


def check_trust(folder: Path) -> None:
    """Raises unless the artifact may be opened without a person's word.

    Raises:
        UntrustedError: It would run code that nobody vouched for; names where.
        ArtifactError: There is no readable ``MLmodel``.
    """
    findings = inspect_trust(folder)
    if findings:
        first = findings[0]
        raise UntrustedError(
            f"The artifact would run code that nobody vouched for ({first.where}: {first.what}).",
            hint="Look at it, then: greenroom approve NAME --version N, and promote it.",
        )


def read_mlmodel(folder: Path) -> Mapping[str, Any]:
    """Reads ``MLmodel`` as plain YAML (safe loader: nothing in it can run).

    Raises:
        ArtifactError: It is missing or unreadable, or has no python_function flavor.
    """
    import yaml  # noqa: PLC0415 - not on the way to --help

    try:
        document = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("The artifact has no MLmodel file.", hint="Was it logged by MLflow?") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ArtifactError("The artifact's MLmodel file cannot be read.") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not isinstance(flavors.get("python_function"), dict):
        raise ArtifactError(
            "The artifact has no python_function flavor.", hint="Only pyfunc models can be served."
        )
    description: Mapping[str, Any] = document
    return description


def is_trusted_type(name: str) -> bool:
    """Whether a skops file may name the type without a person's word.

    >>> is_trusted_type("sklearn.ensemble._forest.RandomForestClassifier"), is_trusted_type("os.system")
    (True, False)
    """
    if name in TRUSTED_NAMES:
        return True
    return name.startswith(TRUSTED_PREFIXES) and not name.startswith(UNTRUSTED_PREFIXES) and _is_at_home(name)


def _is_at_home(name: str) -> bool:
    """Whether the thing was made where its name says: modules also hold what they import from elsewhere.

    Imports the module, which is one of the trusted packages' own.
    """
    module, _, attribute = name.rpartition(".")
    try:
        home = getattr(getattr(import_module(module), attribute), "__module__", None)
    except (ImportError, AttributeError):
        return False
    return isinstance(home, str) and f"{home}.".startswith(TRUSTED_PREFIXES)


def _find(folder: Path, description: Mapping[str, Any]) -> Iterator[Finding]:
    flavors = description["flavors"]
    pyfunc = flavors["python_function"]
    yield from _find_code(flavors)
    yield from _find_outside(folder, flavors)
    loader = str(pyfunc.get("loader_module"))
    if loader == CODE_LOADER:
        yield from _find_model_code(folder, pyfunc)
    elif loader == "mlflow.pyfunc.model":
        yield Finding("MLmodel: python_model", "a pickled Python model runs its author's code")
    elif loader not in DATA_ONLY_LOADERS:
        yield Finding("MLmodel: loader_module", f"{loader!r} runs when the model is loaded")
    else:
        yield from _find_format(loader, flavors)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield from _find_in_file(folder, path)


def _find_code(flavors: Mapping[str, Any]) -> Iterator[Finding]:
    for name, flavor in flavors.items():
        if isinstance(flavor, dict) and flavor.get("code"):
            yield Finding(f"MLmodel: {name}.code", f"the folder {flavor['code']!r} is put on the import path")


def _find_outside(folder: Path, flavors: Mapping[str, Any]) -> Iterator[Finding]:
    """Files that the loaders open must be the artifact's own, and such as its manifest covers."""
    for name, flavor in flavors.items():
        for key, text in _name_files(flavor if isinstance(flavor, dict) else {}):
            path = folder / text
            if not path.resolve().is_relative_to(folder.resolve()) or path.name in IGNORED:
                yield Finding(
                    f"MLmodel: {name}.{key}", f"it names {text!r}, which is no file of the artifact"
                )


def _name_files(flavor: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in FILE_KEYS:
        if flavor.get(key) is not None:
            yield key, str(flavor[key])
    artifacts = flavor.get("artifacts")
    for name, kept in artifacts.items() if isinstance(artifacts, dict) else ():
        if isinstance(kept, dict) and kept.get("path") is not None:
            yield f"artifacts.{name}", str(kept["path"])


def _find_format(loader: str, flavors: Mapping[str, Any]) -> Iterator[Finding]:
    """What decides is how the loader will read the file, not what the file is called or begins with."""
    name = loader.removeprefix("mlflow.")
    flavor = flavors.get(name)
    flavor = flavor if isinstance(flavor, dict) else {}
    unpickles = name == "sklearn" or (
        name == "lightgbm" and flavor.get("model_class", LIGHTGBM_BOOSTER) != LIGHTGBM_BOOSTER
    )
    if unpickles and flavor.get("serialization_format") != "skops":
        yield Finding(
            f"MLmodel: {name}.serialization_format", "a pickle runs its author's code when it is opened"
        )
    made = str(flavor.get("model_class", "xgboost."))
    if name == "xgboost" and not made.startswith("xgboost."):
        yield Finding("MLmodel: xgboost.model_class", f"{made!r} is made when the model is loaded")


def _find_model_code(folder: Path, pyfunc: Mapping[str, Any]) -> Iterator[Finding]:
    path = folder / str(pyfunc.get("model_code_path", ""))
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        yield Finding("MLmodel: model_code_path", "it names no file of the artifact")
        return
    if hashlib.sha256(path.read_bytes()).hexdigest() not in read_trusted_layers():
        yield Finding(path.relative_to(folder).as_posix(), "this Python file runs when the model is loaded")


def read_trusted_layers() -> frozenset[str]:
    """sha256 of every layers file that Greenroom ever shipped (``registry/trusted_layers.txt``)."""
    text = resources.files("registry").joinpath("trusted_layers.txt").read_text(encoding="ascii")
    return frozenset(line.split()[0] for line in text.splitlines() if line and not line.startswith("#"))


def _find_in_file(folder: Path, path: Path) -> Iterator[Finding]:
    name = path.relative_to(folder).as_posix()
    if path.name == "MLmodel" and name != "MLmodel":
        yield Finding(name, "a second MLmodel, which a loader may go by")
    if path.suffix == ".skops" or _is_skops(path):
        yield from _find_in_skops(name, path)
        return
    with path.open("rb") as file:
        starts_like_pickle = file.read(1) == PICKLE_MARK
    if path.suffix in PICKLE_SUFFIXES or starts_like_pickle:
        yield Finding(name, "a pickle runs its author's code when it is opened")


def _is_skops(path: Path) -> bool:
    """By content: loaders open skops files of any name."""
    import zipfile  # noqa: PLC0415 - not on the way to --help

    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "schema.json" in archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return True  # its types cannot be read: a finding


def _find_in_skops(name: str, path: Path) -> Iterator[Finding]:
    import zipfile  # noqa: PLC0415 - not on the way to --help

    from skops.io import get_untrusted_types  # noqa: PLC0415 - imports scikit-learn

    try:
        types = get_untrusted_types(file=path)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        yield Finding(name, f"its types cannot be read ({type(error).__name__})")
        return
    strange = [found for found in types if not is_trusted_type(found)]
    if strange:
        yield Finding(name, f"it holds {', '.join(strange[:3])}, which nobody vouched for")
