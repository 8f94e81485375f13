"""Artifacts that run their author's code under names and first bytes that nobody looks for."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.errors import ArtifactError
from registry.trust import inspect_trust, is_trusted_type
from tests.registry.conftest import Artifacts


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = yaml.safe_load((folder / "MLmodel").read_text())
    change(document["flavors"])
    (folder / "MLmodel").write_text(yaml.safe_dump(document))


def write_skops(path: Path, kind: str) -> None:
    module, _, name = kind.rpartition(".")
    node = {
        "__class__": name,
        "__module__": module,
        "__loader__": "FunctionNode",
        "content": "f",
        "__id__": 1,
    }
    node["content"] = {"module_path": module, "function": name}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps({**node, "protocol": 2, "_skops_version": "0.13"}))


def as_pickle(folder: Path, protocol: int) -> None:
    """MLflow opens it by what MLmodel says; a pickle of protocol 0 or 1 begins with an ordinary letter."""
    (folder / "model.bin").write_bytes(pickle.dumps(Evil(), protocol))

    def change(flavors: dict[str, Any]) -> None:
        flavors["python_function"]["model_path"] = "model.bin"
        flavors["sklearn"]["serialization_format"] = "pickle"

    edit(folder, change)


def without_flavor(folder: Path) -> None:
    """Without its own flavor MLflow takes the file for a pickle."""
    edit(folder, lambda flavors: flavors.pop("sklearn"))


def as_renamed_skops(folder: Path) -> None:
    write_skops(folder / "model.bin", "os.system")
    edit(folder, lambda flavors: flavors["python_function"].update(model_path="model.bin"))


def from_outside(folder: Path) -> None:
    shutil.copy(folder / "model.skops", folder.parent / "other.skops")
    edit(folder, lambda flavors: flavors["python_function"].update(model_path="../other.skops"))


def from_absolute(folder: Path) -> None:
    edit(folder, lambda flavors: flavors["python_function"].update(data="/tmp/other.skops"))


def from_artifacts_outside(folder: Path) -> None:
    parts = {"parts": {"path": "../../parts", "uri": "x"}}
    edit(folder, lambda flavors: flavors["python_function"].update(artifacts=parts))


def from_unhashed(folder: Path) -> None:
    """MLflow's client writes a file of this name itself, so no manifest covers it."""
    shutil.copy(folder / "model.skops", folder / "registered_model_meta")
    edit(folder, lambda flavors: flavors["python_function"].update(model_path="registered_model_meta"))


def with_second_mlmodel(folder: Path) -> None:
    (folder / "sub").mkdir()
    shutil.copy(folder / "MLmodel", folder / "sub" / "MLmodel")


def lightgbm_pickle(folder: Path) -> None:
    def change(flavors: dict[str, Any]) -> None:
        flavors["python_function"]["loader_module"] = "mlflow.lightgbm"
        flavors["lightgbm"] = {"model_class": "lightgbm.sklearn.LGBMClassifier", "data": "model.lgb"}

    edit(folder, change)


def xgboost_class(folder: Path) -> None:
    def change(flavors: dict[str, Any]) -> None:
        flavors["python_function"]["loader_module"] = "mlflow.xgboost"
        flavors["xgboost"] = {"model_class": "subprocess.Popen", "data": "model.xgb"}

    edit(folder, change)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: as_pickle(folder, 0),
        lambda folder: as_pickle(folder, 1),
        without_flavor,
        as_renamed_skops,
        from_outside,
        from_absolute,
        from_artifacts_outside,
        from_unhashed,
        with_second_mlmodel,
        lightgbm_pickle,
        xgboost_class,
    ],
)
def test_it_is_found_whatever_its_name_and_first_byte(
    artifacts: Artifacts, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(artifacts.good, tmp_path / "model")
    assert inspect_trust(folder) == ()
    make(folder)
    assert inspect_trust(folder) != ()


@pytest.mark.parametrize(
    "text",
    [
        "flavors: null",
        "flavors: []",
        "flavors: {python_function: null}",
        "flavors: {python_function: [1]}",
        "- a",
        "[" * 5000,
    ],
)
def test_an_mlmodel_of_another_shape_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ArtifactError, match=r"MLmodel|python_function"):
        inspect_trust(tmp_path)


def test_a_loader_that_is_no_name_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {loader_module: [a]}}")
    assert inspect_trust(tmp_path) != ()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.vars",
        "builtins.breakpoint",
        "collections._sys",
        "datetime.sys",
        "numpy.load",
        "numpy.ctypeslib.load_library",
        "numpy.testing._private.utils.runstring",
        "sklearn.base.warnings",
        "sklearn.utils._testing.check_output",
        "scipy.io.loadmat",
        "sklearn.nowhere.Thing",
    ],
)
def test_names_that_reach_out_of_the_trusted_packages_are_not_trusted(name: str) -> None:
    assert not is_trusted_type(name)


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn.tree._tree.Tree",
        "numpy.dtype",
        "numpy.random._pickle.__randomstate_ctor",
        "scipy.sparse._csr.csr_matrix",
        "collections.OrderedDict",
        "builtins.slice",
    ],
)
def test_names_that_honest_models_use_are_trusted(name: str) -> None:
    assert is_trusted_type(name)
