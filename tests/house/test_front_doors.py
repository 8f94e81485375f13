import ast
import inspect
from importlib import import_module

import pytest

from tests.house.street import ROOMS, ROOT


def read_typed_names(room: str) -> dict[str, str]:
    """Name → module, from the imports that only type checkers see."""
    tree = ast.parse((ROOT / room / "__init__.py").read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    found = {}
    for node in (statement for block in blocks for statement in block.body):
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"{room}: write {alias.name} as {alias.name}"
            found[alias.name] = node.module or ""
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_front_door_shows_type_checkers_what_it_opens(room: str) -> None:
    door = import_module(room)
    assert read_typed_names(room) == {
        name: module for module, names in getattr(door, "_ROOMS", {}).items() for name in names
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_front_door_is_sorted(room: str) -> None:
    door = import_module(room)
    for module, names in getattr(door, "_ROOMS", {}).items():
        assert names == sorted(names), f"{room}.{module}"
    assert list(getattr(door, "__all__", [])) == sorted(getattr(door, "__all__", []))


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_of_a_front_door_resolves_and_is_documented(room: str) -> None:
    door = import_module(room)
    bare = []
    for name in getattr(door, "__all__", []):
        value = getattr(door, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            own = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
            if not own or own.startswith(f"{name}("):  # what dataclasses write by themselves
                bare.append(name)
    assert bare == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_name_that_a_front_door_does_not_have_is_an_attribute_error(room: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = import_module(room).no_such_name
