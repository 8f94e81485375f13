import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.street import ROOMS, ROOT, list_modules


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_holds_our_three_packages_and_nothing_else(wheel: Path) -> None:
    tops = {Path(name).parts[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)


def test_a_wheel_holds_every_module_and_the_files_they_read(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT).as_posix() for path in list_modules()}
    wanted |= {"registry/trusted_layers.txt", *(f"{room}/py.typed" for room in ROOMS)}
    assert wanted <= names
    assert not [name for name in names if "__pycache__" in name]


def test_a_wheel_carries_licence_readme_and_the_four_scripts(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
    assert "LICENSE" in names
    assert "# Greenroom" in archive.read(names["METADATA"]).decode()
    scripts = archive.read(names["entry_points.txt"]).decode()
    for script in ("greenroom", "train-model", "promote-model", "serve-model"):
        assert f"{script} = " in scripts
