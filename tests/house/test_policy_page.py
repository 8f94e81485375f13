"""The policy's page has every key with its default, and the example of the how-to is one that is read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from registry.policy import MetricName, Policy, read_policy
from tests.house.street import DOCS, REFERENCE

ROW = re.compile(r"^\| `([a-z_.]+)` \| (none|`[^`]+`) \| .+ \|$", re.MULTILINE)


def list_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key as it is written in a file, with its default."""
    for name, what in model.model_fields.items():
        if isinstance(what.annotation, type) and issubclass(what.annotation, BaseModel):
            yield from list_keys(what.annotation, f"{prefix}{name}.")
        else:
            value = what.default if what.default is not PydanticUndefined else {}
            yield prefix + name, write(value)


def write(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value:g}`" if isinstance(value, int | float) else "`[]`" if value == () else "`{}`"


def test_every_key_of_a_policy_is_documented_with_its_default_and_no_other() -> None:
    page = (REFERENCE / "policy.md").read_text("utf-8")
    assert ROW.findall(page) == list(list_keys(Policy))
    assert [name for name in get_args(MetricName) if f'`"{name}"`' not in page] == []


def test_the_whole_policy_of_the_how_to_is_one(tmp_path: Path) -> None:
    """It names every section, so that a reader can strike out what is not wanted."""
    text = (DOCS / "how-to" / "write-a-policy.md").read_text("utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    policies = []
    for place, example in enumerate(examples):
        path = tmp_path / f"{place}.toml"
        path.write_text(example, "utf-8")
        policies.append(read_policy(path))
    whole = policies[0].model_dump(exclude_unset=True)
    assert set(whole) == set(Policy.model_fields)
    assert policies[0].latency.is_asked
    assert policies[1].metric.mode == "non_inferiority"
