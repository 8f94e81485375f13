"""The reference pages hold what the code has, and nothing that it has not."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from registry import errors
from registry.errors import GreenroomError
from tests.house.python_reference import PAGE, write_page
from tests.house.street import (
    DOCS,
    REFERENCE,
    ROOT,
    find_strings,
    list_actions,
    list_documents,
    load_commands,
    read_first_cells,
    read_sections,
)

COMMON = {"--json", "--verbose"}
COLUMNS = {"greenroom.group", "greenroom.prediction", "greenroom.probability."}
"""Columns of evaluation rows, beside the user's own; they look like tags."""
NO_TAGS = {"greenroom.commands", "greenroom.gates", "greenroom.serving"}
"""Two entry point groups, and a logger."""


@pytest.mark.parametrize("words", load_commands())
def test_a_commands_page_section_has_its_arguments_and_no_others(words: str) -> None:
    sections = {name.strip("`"): text for name, text in read_sections(REFERENCE / "commands.md").items()}
    assert words in sections, f"docs/reference/commands.md has no section `{words}`"
    written = set(read_first_cells(sections[words]))
    known = {
        text
        for action in list_actions(words)
        for text in (action.option_strings or [str(action.metavar or action.dest)])
    } - COMMON
    assert written == known
    assert re.search(rf"^{words}\b", sections[words], re.MULTILINE), "give an example"


def test_no_command_is_documented_that_does_not_exist() -> None:
    headings = {name.strip("`") for name in read_sections(REFERENCE / "commands.md") if "`" in name}
    assert headings == set(load_commands()) | {"greenroom"}


def test_every_option_that_a_document_mentions_is_one() -> None:
    known = {
        text for words in load_commands() for action in list_actions(words) for text in action.option_strings
    }
    others = {
        "--help",
        "--version",
        "--run-id",
        "--experiment-id",
        "--env-manager",
        "--app-name",
    }  # MLflow's too
    others |= {"--folder", "--backend-store-uri", "--artifacts", "--policy"}
    pattern = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")
    strange = {
        f"{path.relative_to(ROOT)}: {found}"
        for path in list_documents()
        for found in pattern.findall(_drop_foreign(path.read_text("utf-8")))
        if found not in known | others
    }
    assert strange == set()


def test_every_exit_code_and_error_is_documented() -> None:
    page = (REFERENCE / "exit-codes.md").read_text("utf-8")
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    tree = [one for one in classes if issubclass(one, GreenroomError)]
    assert len(tree) > 10
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted((one.code, one.__name__, str(one.exit_code)) for one in tree)
    codes = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert [int(code) for code in codes] == [0, *sorted({one.exit_code for one in tree}), 130]


def test_every_environment_variable_that_is_read_is_documented() -> None:
    source = (ROOT / "registry" / "environment.py").read_text("utf-8")
    read = set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', source))
    page = set(read_first_cells((REFERENCE / "environment.md").read_text("utf-8")))
    assert {name for name in read if name.startswith(("MLFLOW_", "GREENROOM_", "AWS_", "XDG_"))} <= page
    known = read | set(find_strings(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"'))
    assert {name for name in page if name.startswith(("GREENROOM_", "MLFLOW_TRACKING"))} <= known


def test_every_tag_is_documented_and_no_other() -> None:
    written = find_strings(r'"(greenroom\.[a-z_0-9.]+)["{]') - NO_TAGS - COLUMNS
    assert set(read_first_cells((REFERENCE / "tags.md").read_text("utf-8"))) == written


def test_every_json_schema_is_documented_and_no_other() -> None:
    known = find_strings(r"(greenroom/[a-z-]+/\d+)")
    assert set(re.findall(r"greenroom/[a-z-]+/\d+", (REFERENCE / "json.md").read_text("utf-8"))) == known


def test_the_python_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text("utf-8") == write_page(), "write it again: python -m tests.house.python_reference"


@pytest.mark.parametrize("path", list_documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_of_a_document_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        link = unquote(target[0] or target[1])
        if link.startswith(("http://", "https://", "#", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        found = (path.parent / file).resolve()
        assert found.exists(), f"{path.name} links to {link}"
        assert found.is_relative_to(ROOT), f"{path.name} links out of the repository: {link}"
        if anchor and found.suffix == ".md":
            assert anchor in _list_anchors(found), f"{path.name} links to {link}"


def test_documents_keep_to_four_parts() -> None:
    parts = {path.name for path in DOCS.iterdir()}
    assert parts == {"README.md", "explanation", "how-to", "images", "reference", "tutorial"}


def _list_anchors(document: Path) -> set[str]:
    """GitHub's: lower case, punctuation dropped, blanks to hyphens."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _drop_foreign(text: str) -> str:
    """Without the lines that are about other programs."""
    foreign = ("mlflow ", "pip ", "curl ", "git ", "aws ", "uv ", "python ", "docker ", "kubectl ", "pg_")
    return "\n".join(line for line in text.splitlines() if not any(word in line for word in foreign))
