"""MLproject and its environment say what the package says."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_project_has_the_promised_entry_points() -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    assert set(project["entry_points"]) == {"main", "train", "promote", "score"}
    assert set(project["entry_points"]["promote"]["parameters"]) == {"name", "to"}


def test_the_environment_lists_what_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    environment = yaml.safe_load((ROOT / "python_env.yaml").read_text())
    assert environment["dependencies"] == [*project["dependencies"], *extras["search"], *extras["examples"]]
