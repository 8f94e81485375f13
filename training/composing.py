"""Joins the files of ``artifact/`` into the one file of code that a model carries."""

import ast
from pathlib import Path
from typing import Final

__all__ = ["LAYERS_FILE", "compose_layers"]

LAYERS_FILE: Final = "layers.py"
FOLDER: Final = Path(__file__).parent / "artifact"
BEFORE: Final = ("rows.py", "contract.py", "answers.py", "guard.py")
"""What comes before ``layers.py`` itself, in an order in which each needs only earlier ones."""


def compose_layers() -> str:
    """Returns the text of the model's ``layers.py``; its sha256 is on the list of trusted ones."""
    last = (FOLDER / LAYERS_FILE).read_text("utf-8")
    head = ast.get_docstring(ast.parse(last), clean=False)
    bodies = [_strip((FOLDER / name).read_text("utf-8")) for name in BEFORE]
    return "\n\n".join([f'"""{head}"""\n', *bodies, _strip(last)])


def _strip(text: str) -> str:
    """The same without its docstring and its imports from neighbours."""
    tree, lines = ast.parse(text), text.splitlines(keepends=True)
    for place, node in reversed(list(enumerate(tree.body))):
        is_docstring = place == 0 and isinstance(node, ast.Expr)
        if is_docstring or (isinstance(node, ast.ImportFrom) and node.level):
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines).strip() + "\n"
