"""The reference page names every key that a job file may have, and the defaults it really has."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from training.job import (
    DatetimePart,
    EvaluationSection,
    FeaturesSection,
    JobSpec,
    LookupSection,
    SearchSection,
)

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "job-file.md").read_text("utf-8")


def list_sections() -> list[tuple[str, type[BaseModel]]]:
    models = {
        name: field.annotation
        for name, field in JobSpec.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    return [*models.items(), ("search", SearchSection), ("features.lookup", LookupSection)]


@pytest.mark.parametrize(("name", "model"), list_sections())
def test_every_key_is_explained_in_its_section(name: str, model: type[BaseModel]) -> None:
    heading = f"`[[{name}]]`" if name == "features.lookup" else f"## `[{name}]`"
    section = PAGE.partition(heading)[2].partition("\n## ")[0]
    missing = [key for key in model.model_fields if f"`{key}`" not in section and key != "lookup"]
    assert missing == []


def test_every_part_of_a_moment_is_named() -> None:
    assert [part for part in get_args(DatetimePart) if f"`{part}`" not in PAGE] == []


def test_defaults_are_the_real_ones() -> None:
    assert f"`{EvaluationSection().max_rows}`" in PAGE
    importance = EvaluationSection().importance
    assert f"{{ rows = {importance.rows}, repeats = {importance.repeats} }}" in PAGE
    assert FeaturesSection().encoding == "auto"
