"""Writes ``docs/reference/python.md`` from the front doors' docstrings.

Run it so: ``python -m tests.house.python_reference``.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import registry
import serving
import training
from tests.house.street import REFERENCE

PAGE: Final = REFERENCE / "python.md"

HEAD: Final = """\
# Python

Three import names, one distribution (`greenroom`). A room's front door is its `__all__`; only these names
are kept stable. They are resolved when first used, so `import registry` costs nothing. Everything is typed
(`py.typed`), and every docstring says what comes back, units and shapes, and what is raised.

```python
from training import read_job, train
from registry import PromotionRequest, open_ledger, promote

result = train(read_job("job.toml"))
ledger = open_ledger(result.model)
for stage in ("staging", "production"):
    outcome = promote(ledger, PromotionRequest(result.model, to=stage))
    print(stage, outcome.verdict, [gate.reason for gate in outcome.gates])
```

The tables are the first sentences of the docstrings; `python -m tests.house.python_reference` writes them.
"""
VALUES: Final = {
    "PRODUCTION": "the text `production`",
    "STAGING": "the text `staging`",
    "STAGES": "both, in order",
    "TaskKind": "`binary`, `multiclass` or `regression`",
}
"""Names whose values have no docstring of their own."""

NO_NAMES: Final = "It is used through its command and [HTTP](http.md); its front door offers no names yet."


def write_page() -> str:
    """The page's text."""
    return "\n".join([HEAD, *_list_lines()])


def _list_lines() -> Iterator[str]:
    for room in (registry, training, serving):
        names = getattr(room, "__all__", [])
        purpose = (room.__doc__ or "").splitlines()[0]
        yield from (f"## `{room.__name__}`", "", purpose, "")
        if not names:
            yield from (NO_NAMES, "")
            continue
        yield from ("| name | is |", "|---|---|")
        yield from (f"| `{name}` | {_describe(name, getattr(room, name))} |" for name in names)
        yield ""


def _describe(name: str, value: Any) -> str:
    if name in VALUES:
        return VALUES[name]
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    sentence = re.split(r"(?<=[.;])\s(?=[A-Z`])", paragraph)[0].rstrip(".;")
    plain = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", sentence).replace("``", "`").replace("|", "\\|")
    starts_plainly = re.match(r"[A-Z]($|[a-z]* )", plain)
    return plain[0].lower() + plain[1:] if starts_plainly else plain


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
